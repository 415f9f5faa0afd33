"""The table of cases: kept in the scene, with problems named, and roles by patient."""

import json

import pytest
import slicer
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import CHANNELS, addPatient, addSegmentation
from TransferSegBridge.annotated import AnnotatedCase, assignRoles, loadCases, schemeOf, storeCases, uniqueName
from TransferSegBridge.parameters import TransferSegParameterNode

from TransferSegLib.labels import GLIOMA, LESION


@pytest.fixture
def parameters():
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    return TransferSegParameterNode(node)


def loadedCase(name="a", **given):
    nodes = addPatient(name)
    label = addSegmentation(f"{name} seg", nodes["flair"])
    images = {channel: node.GetID() for channel, node in nodes.items()}
    return AnnotatedCase(name, images, label.GetID(), True, {"lesion": "lesion"}, **given)


def onDisk(name, role="auto", patient="", group=""):
    return AnnotatedCase(
        name,
        {channel: f"/{name}/{channel}.nii" for channel in CHANNELS},
        f"/{name}/l.nii",
        False,
        {},
        role,
        group,
        patient,
    )


class TestKeptInTheScene:
    def test_what_was_stored_is_loaded(self, parameters):
        cases = [loadedCase("a", role="test", group="HGG"), onDisk("b", "train", "p1")]
        storeCases(parameters, cases)
        assert loadCases(parameters) == cases

    def test_fewer_cases_leave_nothing_of_the_old_ones(self, parameters):
        first, second = loadedCase("a"), loadedCase("b")
        storeCases(parameters, [first, second])
        storeCases(parameters, [second])
        assert loadCases(parameters) == [second]

    def test_deleted_node_is_an_empty_string_and_a_problem(self, parameters):
        case = loadedCase("a")
        storeCases(parameters, [case])
        slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetNodeByID(case.images["t2"]))
        (found,) = loadCases(parameters)
        assert found.images["t2"] == ""
        assert "t2" in found.problem(CHANNELS, LESION)

    def test_references_follow_when_a_saved_scene_is_added_to_another(self, parameters, tmp_path):
        storeCases(parameters, [loadedCase("a")])
        names = {
            channel: slicer.mrmlScene.GetNodeByID(nodeID).GetName()
            for channel, nodeID in loadCases(parameters)[0].images.items()
        }
        path = str(tmp_path / "scene.mrb")
        assert slicer.util.saveScene(path)
        slicer.mrmlScene.Clear(0)
        addPatient("already here")  # takes the IDs
        slicer.util.loadScene(path)
        node = next(
            node
            for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
            if len(node.GetParameter("cases")) > 2
        )
        (case,) = loadCases(TransferSegParameterNode(node))
        assert {
            channel: slicer.mrmlScene.GetNodeByID(nodeID).GetName() for channel, nodeID in case.images.items()
        } == names


class TestProblems:
    def test_good_case_has_none(self):
        assert loadedCase().problem(CHANNELS, LESION) == ""

    @pytest.mark.parametrize("missing", CHANNELS)
    def test_missing_channel_is_named(self, missing):
        case = loadedCase()
        left = AnnotatedCase("a", {**case.images, missing: ""}, case.label, True, case.classes)
        assert missing in left.problem(CHANNELS, LESION)

    def test_channel_that_the_model_does_not_need_may_be_missing(self):
        case = loadedCase()
        images = {channel: node for channel, node in case.images.items() if channel != "t1c"}
        assert AnnotatedCase("a", images, case.label, True, case.classes).problem(("t1", "flair"), LESION) == ""

    def test_segments_of_no_class_are_a_problem(self):
        case = loadedCase()
        left = AnnotatedCase("a", case.images, case.label, True, {"lesion": "something"})
        assert "necrotic" in left.problem(CHANNELS, GLIOMA)

    def test_file_that_is_gone_is_named(self, tmp_path):
        assert "t1.nii" in onDisk("a").problem(CHANNELS, LESION)


class TestScheme:
    def test_own_segments_make_a_scheme(self, parameters):
        parameters.scheme = "segments"
        assert schemeOf(parameters, []) is None
        assert schemeOf(parameters, [loadedCase()]).names == ("background", "lesion")

    def test_scheme_of_a_dataset_is_kept_as_json(self, parameters):
        parameters.scheme = json.dumps(GLIOMA.to_dict())
        assert schemeOf(parameters, []) == GLIOMA


class TestRoles:
    def test_a_fifth_validates_and_a_fifth_is_held_out(self):
        roles = [case.role for case in assignRoles([onDisk(f"c{number}") for number in range(10)])]
        assert (roles.count("train"), roles.count("validate"), roles.count("test")) == (6, 2, 2)

    @pytest.mark.parametrize(
        ("count", "wanted"), [(1, {"train"}), (2, {"train", "validate"}), (3, {"train", "validate", "test"})]
    )
    def test_few_cases_train_first_then_validate_then_test(self, count, wanted):
        assert {case.role for case in assignRoles([onDisk(f"c{number}") for number in range(count)])} == wanted

    def test_given_role_stays_and_fills_its_place(self):
        cases = [onDisk("a", "test"), *(onDisk(f"c{number}") for number in range(9))]
        done = assignRoles(cases)
        assert [case.name for case in done if case.role == "test"] == ["a"]

    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 7),
                st.sampled_from(("auto", "auto", "auto", "train", "validate", "test")),
                st.sampled_from(("HGG", "LGG")),
            ),
            min_size=1,
            max_size=20,
        )
    )
    def test_no_patient_stands_on_two_sides_and_somebody_trains(self, rows):
        given_roles = {}
        cases = []
        for number, (patient, role, group) in enumerate(rows):
            role = given_roles.setdefault(patient, role)
            cases.append(onDisk(f"c{number}", role, f"p{patient}", group))
        done = assignRoles(cases)
        sides = {}
        for case in done:
            assert case.role != "auto"
            assert sides.setdefault(case.patient, case.role) == case.role
        if any(case.role in ("auto", "train") for case in cases):
            assert "train" in sides.values()


def test_names_are_unique_and_can_be_file_names():
    cases = [onDisk("Patient 1")]
    assert uniqueName("patient 1", cases) == "patient 1 2"
    assert uniqueName("a/b:c,d", cases) == "a-b-c-d"
    assert uniqueName(" .", cases) == "case"
