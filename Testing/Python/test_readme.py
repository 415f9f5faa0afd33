"""The README of a model: what people read of its card."""

from __future__ import annotations

from model_examples import card_fields, small_model

from TransferSegLib.readme import render_readme


def test_the_readme_tells_what_matters() -> None:
    text = render_readme(small_model().card)
    for line in (
        "# Glioma, adapted from MS lesions",
        "**Research use only.** Not a medical device.",
        "| enhancing | 4 (also read: 3) | #f6d926 | 108369006 Neoplasm |",
        "| whole | Dice | 25 held-out | 0.851 ± 0.062 | 0.870 | 0.830 to 0.872 |",
        "| enhancing | Dice | 25 held-out | 0.700 | – | – |",
        "- Source model: ms-lesion",
        "- Training cases: 3 (2 HGG, 1 LGG)",
        "- Kaur et al. 2019, doi:10.1007/978-3-030-33391-1_6",
    ):
        assert line in text.splitlines()


def test_the_readme_owns_up_to_what_was_not_measured_and_to_layers_that_moved() -> None:
    training = {**card_fields()["training"], "parent": None, "frozen_hash_before": "a", "frozen_hash_after": "b"}
    model = small_model(metrics=[], training=training, shape=None, spacing_mm=None, citations=[], title="a | b\nc")
    text = render_readme(model.card)
    assert "It was not measured." in text
    assert "- Frozen layers: CHANGED during training" in text
    assert "- Source model: none, from scratch" in text
    assert "The network sees the box of the brain, each image in its own voxel size." in text
    assert text.startswith("# a | b c\n")


def test_the_readme_leaves_long_learned_values_to_the_card() -> None:
    step = {"step": "nyul", "landmarks": {"t1": list(range(11))}, "levels": list(range(11))}
    text = render_readme(small_model(preprocessing=[step]).card)
    assert "1. nyul: landmarks (see `model.json`), levels (see `model.json`)" in text
