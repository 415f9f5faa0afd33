"""What file names tell."""

from __future__ import annotations

import pytest

from TransferSegLib.datasets import guess_channel


@pytest.mark.parametrize(
    ("channel", "names"),
    [
        ("t1c", "t1c t1ce T1GD t1_gd t1-Gd T1post t1_post_contrast t1wce T1wKM T1WKS x_T1_CE p07-t1c"),
        ("t1c", "sub-01_ce-gadolinium_T1w sub-01_ce-GD_run-1_T1w t1c_to_flair"),
        ("t1c", "t1_mprage_gd T1_tra_KM T1_axial_post T1_with_contrast t1_vibe_ce post_contrast_t1 postcontrast_T1w"),
        ("t1c", "t1_se_tra_post_contrast t1_pre_op_gd t1_post_op_mprage_gd T1-SPACE-Gado p1_contrast_t1"),
        ("t1", "t1_no_contrast T1_without_KM t1_mprage_pre_contrast T1_non-contrast pre_contrast_t1 no_gd_t1 t1_wo_gd"),
        ("t1", "t1_mprage_post_op t1_to_t1c t1_in_t1_gd t1_tra_ohne_KM t1_ce-none t1_nativ post_t1 post_op_t1"),
        ("t1", "t1_post_treatment t1_vibe_w-o_contrast t1_noncontrast t1_tirm_dark-fluid"),
        ("t1", "t1 T1w t1n BraTS-GLI-00002-000-t1n sub-01_ce-none_T1w t1_post_op t1_to_flair"),
        ("flair", "t2_dark_fluid t2_tirm_tra_dark-fluid T2_DarkFluid_sag"),
        ("flair", "flair FLAIR t2f T2FLAIR t2_flair AX_T2_space_FLAIR flair_to_t1 p07.flair"),
        ("t2", "t2 T2w Brats18_2013_2_1_t2 t2_to_t1"),
    ],
)
def test_a_file_name_tells_the_channel(channel: str, names: str) -> None:
    assert {name: guess_channel(f"{name}.nii.gz") for name in names.split()} == dict.fromkeys(names.split(), channel)


@pytest.mark.parametrize("name", ["dwi", "t1map", "patient1", "art1", "ct2", "T2star", "adc", "gd", ""])
def test_a_name_that_tells_no_channel_is_not_guessed(name: str) -> None:
    assert guess_channel(f"{name}.nii.gz") is None
