"""What a release is held to, as far as it can be said without building one: its metadata, its files, its workflows."""

from __future__ import annotations

import json
import re
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.command import in_this_process
from tools.release import (
    contents,
    declared,
    dependencies,
    dist,
    installed,
    licences,
    sbom,
)
from tools.release import tagged as tagging
from tools.release.declared import CORE, Requirement
from tools.release.environments import site_packages
from tools.release.installed import Package

ROOT = Path(__file__).resolve().parents[1]
PROJECT: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PAGE = ROOT / "docs" / "reference" / "dependencies.md"
SOMETHING = Package("something", "1.0", 1.5, "MIT", (), "", frozenset(), frozenset())

# --- one version, one set of interpreters


def test_version_citation_and_changelog_agree() -> None:
    assert set(tagging.versions().values()) == {PROJECT["version"]}
    assert tagging.main(f"v{PROJECT['version']}") == 0


@pytest.mark.parametrize("tag", ["v0.0.0", "v", "latest"])
def test_a_tag_that_is_not_the_version_is_refused(tag: str) -> None:
    assert tagging.main(tag) == 1


@pytest.mark.parametrize("file", ["pyproject.toml", "CITATION.cff", "CHANGELOG.md"])
def test_a_file_that_names_another_version_is_noticed(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace(PROJECT["version"], "9.9.9") if name == file else text, "utf-8")
    monkeypatch.setattr(declared, "ROOT", tmp_path)
    monkeypatch.setattr(tagging, "ROOT", tmp_path)
    assert tagging.main(f"v{PROJECT['version']}") == 1


def test_the_citation_is_of_this_project() -> None:
    cited = dict(re.findall(r"^([a-z-]+): (\S.*)$", (ROOT / "CITATION.cff").read_text("utf-8"), flags=re.MULTILINE))
    assert cited["cff-version"] == "1.2.0"
    assert cited["license"] == PROJECT["license"]
    assert PROJECT["description"].lower() in cited["title"].lower()


def classified() -> list[str]:
    """Python versions that the metadata names."""
    return [found[1] for line in PROJECT["classifiers"] if (found := re.fullmatch(r".*:: Python :: (3\.\d+)", line))]


@pytest.mark.parametrize("workflow", ["ci.yml", "release.yml"])
def test_the_workflows_test_the_python_versions_that_the_metadata_names(workflow: str) -> None:
    text = (ROOT / ".github" / "workflows" / workflow).read_text(encoding="utf-8")
    (matrix,) = re.findall(r"^ +python: \[(.*)\]$", text, flags=re.MULTILINE)
    assert re.findall(r'"([\d.]+)"', matrix) == classified()
    assert PROJECT["requires-python"] == f">={classified()[0]}"


def test_the_command_says_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = in_this_process(monkeypatch, capsys, tmp_path)("--version")
    assert (ran.code, ran.out, ran.err) == (0, f"secagg {PROJECT['version']}\n", "")


# --- workflows


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_read_and_no_more_unless_a_job_says_so(workflow: Path) -> None:
    text = workflow.read_text(encoding="utf-8")
    assert re.search(r"^permissions:\n  contents: read\n", text, flags=re.MULTILINE)
    assert "write-all" not in text
    assert "secrets." not in text


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_pins_its_actions_and_calls_targets_that_there_are(workflow: Path) -> None:
    text, makefile = workflow.read_text(encoding="utf-8"), (ROOT / "Makefile").read_text(encoding="utf-8")
    used = re.findall(r"uses: (\S+)", text)
    assert used
    # A tag or a branch may be moved to other code; the commit may not. Which release it is stands behind it.
    pinned = re.findall(r"uses: (\S+@[0-9a-f]{40})  # v\d+(?:\.\d+)+$", text, flags=re.MULTILINE)
    assert pinned == used
    frameworks = re.findall(r"framework: \[(.*)\]", text)
    spelled = text.replace(
        "test-${{ matrix.framework }}", " ".join(f"test-{name}" for name in re.findall(r"\w+", "".join(frameworks)))
    )
    targets = {target for line in re.findall(r"run: make (.*)", spelled) for target in line.split()}
    assert targets
    assert [target for target in sorted(targets) if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE)] == []


def test_a_release_is_of_a_commit_on_main_and_only_its_last_jobs_may_write() -> None:
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    build, test, attest, publish = re.split(r"^  (?:build|test|attest|publish):\n", text, flags=re.MULTILINE)[1:]
    assert 'git merge-base --is-ancestor "$GITHUB_SHA" origin/main' in build
    assert "fetch-depth: 0" in build
    assert ": write" not in build + test
    assert "needs: [build, test]" in attest
    assert re.findall(r"(\S+): write", publish) == ["id-token"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_no_workflow_runs_foreign_code_with_rights_of_its_own(workflow: Path) -> None:
    text = workflow.read_text(encoding="utf-8")
    assert "pull_request_target" not in text
    assert "workflow_run" not in text
    checkouts = text.split("uses: actions/checkout@")[1:]
    assert all("persist-credentials: false" in after.partition("- uses:")[0] for after in checkouts)


# --- what is asked for, and why


def test_each_requirement_has_its_reason_and_no_reason_is_left_over() -> None:
    asked = {extra: {one.name for one in lines} for extra, lines in declared.requirements().items()}
    assert {extra: set(packages) for extra, packages in declared.reasons().items()} == asked
    assert all(len(reason) > 10 for packages in declared.reasons().values() for reason in packages.values())


def test_core_and_report_have_a_lowest_version_of_each() -> None:
    asked = declared.requirements()
    names = [one.name for extra in (CORE, "report") for one in asked[extra]]
    assert [line.partition("==")[0] for line in declared.lowest()] == names


def test_a_range_without_a_lowest_version_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declared, "requirements", lambda: {CORE: (Requirement("numpy", (), "<3"),), "report": ()})
    with pytest.raises(ValueError, match="numpy<3"):
        declared.lowest()


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        ("numpy>=1.26", Requirement("numpy", (), ">=1.26")),
        ("flwr[simulation]>=1.41,<1.43", Requirement("flwr", ("simulation",), ">=1.41,<1.43")),
        ("Some_Package", Requirement("some-package", (), "")),
    ],
)
def test_requirements_are_read(line: str, parsed: Requirement) -> None:
    assert Requirement.parse(line) == parsed


@pytest.mark.parametrize("line", ["numpy @ https://example.org/numpy.whl", "numpy; python_version < '3'", ""])
def test_a_requirement_of_another_form_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="no requirement"):
        Requirement.parse(line)


@pytest.mark.parametrize(
    ("package", "expression"),
    [
        (SOMETHING, "MIT"),
        (replace(SOMETHING, expression="", classifiers=("License :: OSI Approved :: MIT License",)), "MIT"),
        (replace(SOMETHING, expression="", licence="Apache 2.0"), "Apache-2.0"),
        (replace(SOMETHING, expression="", licence="Apache-2.0 OR BSD-3-Clause"), "Apache-2.0 OR BSD-3-Clause"),
        (replace(SOMETHING, expression="", name="pfl"), "Apache-2.0"),
        (replace(SOMETHING, expression="", name="pfl", licence="GPL-3.0-only"), None),
        (replace(SOMETHING, expression="", name="pfl", classifiers=("License :: Free To Use But Restricted",)), None),
        (replace(SOMETHING, expression=""), None),
        (replace(SOMETHING, expression="", licence="ask us first"), None),
        (replace(SOMETHING, expression="", classifiers=("License :: OSI Approved :: Some Other License",)), None),
    ],
)
def test_licences_are_read_from_what_packages_declare(package: Package, expression: str | None) -> None:
    assert licences.spdx(package) == expression


@pytest.mark.parametrize(
    "expression", ["MIT", "(MIT OR Apache-2.0) AND BSD-3-Clause", "Apache-2.0 WITH LLVM-exception"]
)
def test_licences_that_go_with_ours(expression: str) -> None:
    assert licences.is_compatible(expression)


@pytest.mark.parametrize("expression", ["GPL-3.0-only", "MIT AND AGPL-3.0-or-later", "LicenseRef-Proprietary"])
def test_a_licence_that_does_not_or_that_nobody_read_ends_the_page(expression: str) -> None:
    assert not licences.is_compatible(expression)
    with pytest.raises(dependencies.Unclear, match=r"something 1\.0"):
        dependencies.licence(replace(SOMETHING, expression=expression))


def test_the_page_of_dependencies_has_each_requirement_with_its_reason() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for extra, lines in declared.requirements().items():
        if extra == "all":
            continue
        heading = "## Core" if extra == CORE else f"## Extra `{extra}`"
        section = page.partition(heading + "\n")[2].partition("\n## ")[0]
        for one in lines:
            assert re.search(
                rf"^\| {one.name} \| .* \| {re.escape(declared.reasons()[extra][one.name])} \|$", section, re.M
            )


def test_a_package_is_there_for_those_that_need_it_and_else_for_those_with_an_extra_for_it() -> None:
    grid = replace(SOMETHING, name="grid", may_need=frozenset({"grid", "cluster", "plots"}))
    page = replace(SOMETHING, name="page", needs=frozenset({"plots"}))
    assert installed.needed_by([grid, page]) == {"plots": ("page",), "cluster": ("grid",)}


def test_a_package_that_an_extra_holds_at_another_version_is_on_the_page() -> None:
    core = [replace(SOMETHING, name="rich", version="14"), replace(SOMETHING, name="typer", version="0.25")]
    beside = [core[0], replace(core[1], version="0.20"), replace(SOMETHING, name="flwr")]
    lines = list(dependencies.rows("flower", beside, dependencies.versions(core)))
    assert [line.split(" | ")[:2] for line in lines] == [["| flwr", "1.0"], ["| typer", "0.20"]]


def test_an_environment_without_our_package_is_no_environment_without_packages(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="secagg is not installed in"):
        installed.packages(tmp_path)
    install_by_hand(tmp_path, "numpy")
    with pytest.raises(ValueError, match="secagg is not installed in"):
        installed.packages(tmp_path)
    install_by_hand(tmp_path, "secagg")
    assert [package.name for package in installed.packages(tmp_path)] == ["numpy"]


def install_by_hand(environment: Path, name: str) -> None:
    """What `packages` reads of version 1.0."""
    described = site_packages(environment) / f"{name}-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("component", "absent"),
    [
        ({"name": "NumPy", "version": "1.0"}, set()),
        ({"name": "numpy", "version": "1.1"}, {"numpy 1.0"}),
        ({"name": "numpy"}, {"numpy 1.0"}),
        ({"name": "scipy", "version": "1.0"}, {"numpy 1.0"}),
    ],
)
def test_a_bill_names_every_package_in_its_version(component: dict[str, str], absent: set[str], tmp_path: Path) -> None:
    for name in ("numpy", "secagg"):
        install_by_hand(tmp_path, name)
    bill = tmp_path / "sbom.cdx.json"
    bill.write_text(json.dumps({"components": [component]}), encoding="utf-8")
    assert sbom.missing(bill, tmp_path) == absent


def test_whatever_is_installed_to_be_used_has_a_bill() -> None:
    tools = {"dev", "docs", "fuzz"}
    (together,) = declared.requirements()["all"]
    assert {*sbom.BILLS, *together.extras, *tools} == set(declared.requirements())


# --- what archives hold

SOURCE = ("secagg/__init__.py", "dp/x.py", "protocols/cli/app.py", "tests/test_x.py", "LICENSE", ".ci/run")
GOOD_WHEEL = sorted(contents.expected_in_wheel(SOURCE, "secagg-1"))


def test_a_wheel_holds_the_packages_typed_with_the_licence() -> None:
    assert {"secagg/py.typed", "dp/py.typed", "protocols/py.typed"} <= set(GOOD_WHEEL)
    assert "secagg-1.dist-info/licenses/LICENSE" in GOOD_WHEEL
    assert not any(name.startswith(("tests", ".ci")) for name in GOOD_WHEEL)


@pytest.mark.parametrize(
    ("held", "offence"),
    [
        ([*GOOD_WHEEL, "tests/test_x.py"], "does not belong: tests/test_x.py"),
        ([*GOOD_WHEEL, "dp/__pycache__/x.pyc"], "does not belong: dp/__pycache__/x.pyc"),
        ([*GOOD_WHEEL, "dp/x.py"], "2 times: dp/x.py"),
        ([name for name in GOOD_WHEEL if name != "dp/py.typed"], "missing: dp/py.typed"),
        ([name for name in GOOD_WHEEL if "LICENSE" not in name], "missing: secagg-1.dist-info/licenses/LICENSE"),
    ],
)
def test_each_file_too_many_or_too_few_is_named(held: list[str], offence: str) -> None:
    assert contents.offences(GOOD_WHEEL, GOOD_WHEEL) == []
    assert contents.offences(held, contents.expected_in_wheel(SOURCE, "secagg-1")) == [offence]


def test_archives_are_compared_with_what_is_tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "tracked", lambda: frozenset(SOURCE))
    wheel, sdist = tmp_path / "secagg-1-py3-none-any.whl", tmp_path / "secagg-1.tar.gz"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in [*GOOD_WHEEL, "stray.txt"]:
            archive.writestr(name, "")
    (tmp_path / "link").symlink_to("elsewhere")
    with tarfile.open(sdist, "w:gz") as packed:
        for name in (*SOURCE, "PKG-INFO"):
            packed.addfile(tarfile.TarInfo(f"secagg-1/{name}"))
        packed.add(tmp_path / "link", "secagg-1/link")
    assert contents.wheel_offences(wheel) == ["does not belong: stray.txt"]
    assert contents.sdist_offences(sdist) == ["not a plain file: secagg-1/link", "does not belong: secagg-1/link"]


def test_builds_that_differ_in_a_byte_or_a_file_are_named() -> None:
    assert dist.differences({"a": b"1", "b": b"2"}, {"a": b"1", "b": b"2"}) == []
    assert dist.differences({"a": b"1", "b": b"2"}, {"a": b"1", "b": b"3"}) == ["b"]
    assert dist.differences({"a": b"1", "b": b"2"}, {"a": b"1"}) == ["b"]


@pytest.mark.parametrize(
    ("built", "kinds"),
    [
        (["a.whl", "a.tar.gz"], []),
        ([], [".whl", ".tar.gz"]),
        (["a.whl"], [".tar.gz"]),
        (["a.whl", "b.whl", "a.tar.gz"], [".whl"]),
    ],
)
def test_equal_builds_are_of_one_wheel_and_one_sdist(built: list[str], kinds: list[str]) -> None:
    assert dist.lacking(built) == kinds


def test_two_builds_of_nothing_are_no_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dist, "build", lambda circumstances, folder: {})
    monkeypatch.setattr(dist, "differs_from_commit", lambda: False)
    assert dist.main(tmp_path / "dist") == 1
    assert "not one of each was built" in capsys.readouterr().out
    assert not (tmp_path / "dist").exists()


def test_the_two_builds_share_no_circumstance() -> None:
    one, other = dist.CIRCUMSTANCES
    assert one.folder != other.folder
    assert one.umask != other.umask
    assert one.keeps_times != other.keeps_times
    assert all(value != other.environment[name] for name, value in one.environment.items())
    assert set(one.environment) == set(other.environment)
