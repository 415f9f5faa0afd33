"""Engines: whichever computes the network, the logits are those of the plain network, at the borders too."""

import copy
import importlib.util
import logging
import warnings

import numpy as np
import onnx
import pytest
import torch
from model_examples import card_fields

from TransferSegLib import engines
from TransferSegLib.engines import export_onnx, make_engine, torch_engine
from TransferSegLib.errors import DependencyError, InputError, ModelError, ResourceError
from TransferSegLib.model import new_model
from TransferSegLib.network import UNet

torch.set_num_threads(1)

SIZES = [(16, 24, 32), (40, 16, 24)]


def make_model(seed=0, **network):
    """A network of random weights, whose batch normalisations have seen data of another mean and spread."""
    parameters = {"in_channels": 4, "classes": 4, "base_filters": 4, "steps": 4, "statistics": "running", **network}
    torch.manual_seed(seed)
    net = UNet(**parameters)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.3, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    return new_model(card_fields(network=parameters, shape=None), net.state_dict())


MODEL, MODEL_OF_IMAGE = make_model(), make_model(statistics="image")


def image(shape, seed=0):
    return np.random.default_rng(seed).normal(size=(4, *shape)).astype(np.float32)


def plain(model, values):
    """What the network computes without any of the engines' ways to be fast."""
    with torch.inference_mode():
        return model.build()(torch.from_numpy(values)[None])[0].numpy()


def at_border(shape):
    """The outer two voxels on all sides."""
    mask = np.ones(shape, bool)
    mask[2:-2, 2:-2, 2:-2] = False
    return mask


def says(kind, *args, **options):
    with pytest.raises(kind) as caught:
        make_engine(*args, **options)
    return str(caught.value)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The cache folder, so that the model is exported once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSEG_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def engine(cache):
    """OpenVINO's."""
    return make_engine(MODEL, "openvino")


@pytest.fixture
def lacking(monkeypatch):
    """A function that makes packages look as if they were not installed."""

    def remove(*names):
        real = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in names else real(name))

    return remove


@pytest.fixture
def chosen(monkeypatch):
    """Which engine is made, without making it."""
    monkeypatch.setattr(engines, "_openvino_engine", lambda *_: "openvino")
    monkeypatch.setattr(engines, "torch_engine", lambda _, device, precision: f"torch {device} {precision}")


class TestTorch:
    run = staticmethod(make_engine(MODEL, "torch", "cpu"))

    @pytest.mark.parametrize("shape", SIZES)
    @pytest.mark.parametrize("model", [MODEL, MODEL_OF_IMAGE])
    def test_equals_the_plain_network(self, model, shape):
        found = make_engine(model, "torch", "cpu")(image(shape))
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        np.testing.assert_allclose(found, plain(model, image(shape)), atol=1e-5)

    @pytest.mark.parametrize("model", [MODEL, MODEL_OF_IMAGE])
    def test_in_slabs_it_gives_the_same(self, model):
        found = torch_engine(model.build(), torch.device("cpu"), torch.float32, slabs=8)(image(SIZES[0]))
        np.testing.assert_allclose(found, plain(model, image(SIZES[0])), atol=1e-5)

    def test_gives_the_same_bits_each_time(self):
        values = image(SIZES[0])
        first = self.run(values).copy()
        self.run(image(SIZES[1]))
        assert self.run(values).tobytes() == first.tobytes()
        assert make_engine(MODEL, "torch")(values).tobytes() == first.tobytes()

    @pytest.mark.filterwarnings("error")
    def test_takes_views_and_arrays_that_cannot_be_written(self):
        values = image(SIZES[0])
        np.testing.assert_array_equal(self.run(np.flip(values, 1)), self.run(np.flip(values, 1).copy()))
        values.setflags(write=False)
        self.run(values)

    def test_bfloat16_differs_by_a_hundredth_or_so(self):
        values = image(SIZES[0])
        exact, found = self.run(values), make_engine(MODEL, "torch", "cpu", "bfloat16")(values)
        assert found.dtype == np.float32
        difference = np.abs(found - exact)
        assert 1e-4 < difference.max() < 0.05
        assert difference.mean() < 0.01

    def test_an_image_that_does_not_fit_is_told(self):
        with pytest.raises(InputError, match=r"The sides \(16, 20, 16\) do not divide by 8. Pad the image to"):
            self.run(image((16, 20, 16)))
        with pytest.raises(InputError, match=r"takes \(N, 4, i, j, k\)"):
            self.run(image((16, 16, 16))[:3])

    def test_full_memory_is_told(self, monkeypatch):
        def forward(self, x):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

        monkeypatch.setattr(UNet, "forward", forward)
        with pytest.raises(ResourceError) as caught:
            make_engine(MODEL, "torch")(image((16, 16, 16)))
        assert str(caught.value) == ("The memory is full. Give a smaller --memory, so that the image is done in slabs.")


class TestOpenVino:
    @pytest.mark.parametrize("shape", SIZES)
    def test_equals_the_plain_network_inside_and_at_the_borders(self, engine, shape):
        found, expected = engine(image(shape)), plain(MODEL, image(shape))
        assert found.dtype == np.float32
        assert found.shape == expected.shape
        difference = np.abs(found - expected)
        assert difference[:, ~at_border(shape)].max() < 1e-4
        assert difference[:, at_border(shape)].max() < 1e-4
        assert expected.std() > 0.05

    def test_equals_a_network_that_normalises_by_each_images_own_statistics(self, cache):
        engine = make_engine(MODEL_OF_IMAGE, "openvino")
        for shape in SIZES:
            found, expected = engine(image(shape)), plain(MODEL_OF_IMAGE, image(shape))
            assert np.abs(found - expected).max() < 1e-4
            assert expected.std() > 0.05

    def test_the_borders_are_worth_a_look(self):
        """Batch normalisation comes before a zero-padded convolution: folded into it, it is wrong at the border."""
        shape = SIZES[0]
        folded = MODEL.build()
        step = folded.decoder["1"]
        norm, conv = copy.deepcopy(step.norm), step.conv1
        with torch.no_grad():
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            shift = norm.bias - norm.running_mean * scale
            conv.bias += (conv.weight * shift[:, None, None, None]).sum((1, 2, 3, 4))
            conv.weight *= scale[:, None, None, None]
            step.norm = torch.nn.Identity()
            found = folded(torch.from_numpy(image(shape))[None])[0].numpy()
        difference = np.abs(found - plain(MODEL, image(shape)))
        assert difference[:, ~at_border(shape)].max() < 1e-4
        assert difference[:, at_border(shape)].max() > 0.01

    def test_gives_the_same_bits_each_time_and_does_not_touch_earlier_results(self, engine):
        values = image(SIZES[0])
        first = engine(values)
        kept = first.copy()
        engine(image(SIZES[0], seed=1))
        np.testing.assert_array_equal(first, kept)
        assert engine(values).tobytes() == kept.tobytes()
        assert make_engine(MODEL, "openvino")(np.flip(values, 1)[:, ::-1]).tobytes() == kept.tobytes()

    def test_bfloat16_differs_by_a_hundredth_or_so(self, engine):
        values = image(SIZES[0])
        difference = np.abs(make_engine(MODEL, "openvino", "cpu", "bfloat16")(values) - engine(values))
        assert difference.max() < 0.05  # 0 where the processor has no bfloat16
        assert difference.mean() < 0.01

    def test_an_image_that_does_not_fit_is_told(self, engine):
        with pytest.raises(InputError, match=r"Pad the image to \(16, 24, 16\)"):
            engine(image((16, 20, 16)))

    def test_is_exported_once_for_each_weights(self, engine, cache, monkeypatch):
        assert cache / "onnx" / f"{MODEL.sha256[:32]}-running.onnx" in (cache / "onnx").iterdir()
        exported = []
        monkeypatch.setattr(engines, "export_onnx", lambda model, path: exported.append(path) or 1 / 0)
        make_engine(MODEL, "openvino")
        assert exported == []
        other = make_model(seed=1)
        for model in (other, make_model(seed=1, statistics="image")):
            assert model.sha256 == other.sha256  # what it normalises by is no weight
            with pytest.raises(ZeroDivisionError):
                make_engine(model, "openvino")
        assert [path.name for path in exported] == [
            f"{other.sha256[:32]}-running.onnx",
            f"{other.sha256[:32]}-image.onnx",
        ]

    def test_the_exported_network_is_one_file_with_its_weights(self, engine, cache):
        path = cache / "onnx" / f"{MODEL.sha256[:32]}-running.onnx"
        network = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(network)
        assert path.stat().st_size > 4 * 101_000
        assert [item.name for item in network.graph.input] == ["image"]
        assert [item.name for item in network.graph.output] == ["logits"]


class TestExport:
    @pytest.fixture
    def exports(self, monkeypatch):
        """What PyTorch's exporter is asked for, instead of seconds of exporting."""
        asked = []

        def export(network, args, path, **options):
            asked.append((network, *args))
            logging.getLogger("torch.onnx").warning("about other packages")
            warnings.warn("about PyTorch", stacklevel=1)
            path.write_bytes(b"onnx")

        monkeypatch.setattr(torch.onnx, "export", export)
        return asked

    @pytest.mark.parametrize("steps", [2, 3, 4, 5, 6])
    def test_works_for_networks_of_any_depth(self, exports, tmp_path, steps):
        model = make_model(steps=steps, base_filters=1)
        assert export_onnx(model, tmp_path / "new" / "a.onnx").read_bytes() == b"onnx"
        ((network, example),) = exports
        sides = example.shape[2:]
        assert len(set(sides)) == 3  # equal ones would be taken for one and the same
        assert all(side % network.multiple == 0 for side in sides)
        assert not network.training

    @pytest.mark.filterwarnings("error")
    def test_says_nothing(self, exports, tmp_path, capfd, caplog):
        export_onnx(MODEL, tmp_path / "a.onnx")
        assert capfd.readouterr() == ("", "")
        assert caplog.records == []
        assert logging.getLogger("torch.onnx").level == logging.NOTSET

    def test_leaves_nothing_behind_when_it_fails(self, monkeypatch, tmp_path):
        def export(network, args, path, **options):
            path.write_bytes(b"half")
            raise RuntimeError("cannot")

        monkeypatch.setattr(torch.onnx, "export", export)
        with pytest.raises(RuntimeError, match="cannot"):
            export_onnx(MODEL, tmp_path / "a.onnx")
        assert list(tmp_path.iterdir()) == []

    def test_missing_packages_are_told(self, lacking, tmp_path):
        lacking("onnxscript")
        with pytest.raises(DependencyError) as caught:
            export_onnx(MODEL, tmp_path / "a.onnx")
        assert str(caught.value) == (
            'The packages onnx and onnxscript are missing. Run: pip install "TransferSegLib[fast]"'
        )


class TestChoice:
    def test_auto_takes_openvino_on_the_cpu(self, chosen):
        assert make_engine(MODEL) == "openvino"
        assert make_engine(MODEL, device="cpu") == "openvino"

    @pytest.mark.parametrize("missing", ["openvino", "onnx", "onnxscript"])
    def test_auto_takes_pytorch_when_openvino_is_not_installed(self, chosen, lacking, missing):
        lacking(missing)
        assert make_engine(MODEL) == "torch cpu torch.float32"

    def test_auto_takes_pytorch_on_a_graphics_card(self, chosen, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        assert make_engine(MODEL) == "torch cuda torch.float32"
        assert make_engine(MODEL, "openvino") == "openvino"
        assert says(InputError, MODEL, "openvino", "cuda") == (
            "OpenVINO does not compute on 'cuda'. Use --device cpu, or --engine torch."
        )

    def test_auto_takes_pytorch_when_the_cache_cannot_be_written(self, monkeypatch, tmp_path):
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv("TRANSFERSEG_CACHE", str(tmp_path / "file"))
        values = image(SIZES[0])
        np.testing.assert_array_equal(make_engine(MODEL)(values), make_engine(MODEL, "torch")(values))
        assert "cannot be written" in says(InputError, MODEL, "openvino")

    def test_a_missing_openvino_is_told_when_it_was_asked_for(self, lacking):
        lacking("openvino")
        assert says(DependencyError, MODEL, "openvino") == (
            'OpenVINO is not installed. Run: pip install "TransferSegLib[fast]"'
        )

    def test_an_unknown_engine_device_or_precision_is_told(self):
        assert says(InputError, MODEL, "onnx") == "There is no engine 'onnx'. Use one of auto, torch, openvino."
        assert says(InputError, MODEL, "torch", "gpu") == (
            "There is no device 'gpu'. Use cpu, cuda, cuda:1, mps or auto."
        )
        for name in ("torch", "openvino"):
            assert says(InputError, MODEL, name, "cpu", "float16") == (
                "There is no precision 'float16'. Use one of auto, float32, bfloat16."
            )

    @pytest.mark.parametrize("name", ["auto", "torch", "openvino"])
    def test_weights_of_another_network_are_told(self, name, tmp_path, monkeypatch):
        monkeypatch.setenv("TRANSFERSEG_CACHE", str(tmp_path))
        broken = new_model(card_fields(shape=None), make_model(base_filters=2).weights)
        assert "the network needs" in says(ModelError, broken, name)
