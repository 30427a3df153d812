"""What the CLI and the director refuse about a release, refused here first.

Sources: bosh-cli release/{job,pkg}/dir_reader.go, the director's release_job.rb.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.bosh_layout import JOBS, RELEASE, job, leaves
from support.erb import parse_yaml, render
from support.schema import violations

_NAME = re.compile(r"[-0-9A-Za-z_+.]+")
_SPEC_KEYS = {"name", "description", "templates", "packages", "properties", "consumes", "provides", "logs"}


def _packages() -> dict[str, Any]:
    """Each package's spec by its name."""
    folder = RELEASE / "packages"
    specs = (
        [parse_yaml((path / "spec").read_text()) for path in sorted(folder.iterdir()) if path.is_dir()]
        if folder.is_dir()
        else []
    )
    return {spec["name"]: spec for spec in specs}


def test_the_release_has_its_three_jobs() -> None:
    """On the cell, and on the Prometheus and Grafana VMs."""
    assert set(JOBS) == {"c2c_auditor", "c2c_auditor_alerts", "c2c_auditor_dashboards"}


def test_the_release_has_one_name() -> None:
    """`name` or `final_name`, not both; and a list of blobs, be it empty."""
    final = parse_yaml((RELEASE / "config" / "final.yml").read_text())
    assert [final.get(key) for key in ("name", "final_name") if final.get(key)] == ["c2c-auditor"]
    assert (RELEASE / "config" / "blobs.yml").is_file()


def test_licence_and_notice_are_files() -> None:
    """The CLI stores a link as a link, which then leads nowhere."""
    assert (RELEASE / "LICENSE").is_file()
    assert not [path for path in RELEASE.glob("*") if path.is_symlink()]


@pytest.mark.parametrize("name", JOBS)
def test_a_jobs_directory_bears_its_name(name: str) -> None:
    """And the name is one that the director takes.

    Prometheus finds jobs by the name of their process, so they are alike.
    """
    assert job(name).spec["name"] == name
    assert _NAME.fullmatch(name)
    assert set(job(name).spec) <= _SPEC_KEYS
    assert job(name).spec["description"].strip()


@pytest.mark.parametrize("name", JOBS)
def test_templates_and_files_are_the_same(name: str) -> None:
    """Each template is there, none lies about unused, and no two render to one file."""
    folder = job(name).path / "templates"
    templates = job(name).spec["templates"]
    assert set(templates) == {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert len(set(templates.values())) == len(templates)
    assert not [path for path in job(name).path.rglob("*") if path.is_symlink()]


@pytest.mark.parametrize("name", JOBS)
def test_only_scripts_are_rendered_into_bin(name: str) -> None:
    """The agent makes executable what is in bin, and nothing else; a script says what runs it."""
    for destination, text in render(job(name).path).files.items():
        assert text.startswith("#!") == destination.startswith("bin/"), destination


@pytest.mark.parametrize("name", JOBS)
def test_every_job_has_a_monit_file(name: str) -> None:
    """The director refuses a job without, though it may be empty. What it watches has the job's name."""
    watched = re.findall(r"check process (\S+)", (job(name).path / "monit").read_text())
    assert watched == ([name] if name == "c2c_auditor" else [])


@pytest.mark.parametrize("name", JOBS)
def test_packages_are_there(name: str) -> None:
    """The CLI expects to find each package that a job depends on."""
    assert set(job(name).spec["packages"]) <= set(_packages())


def test_packages_are_complete() -> None:
    """A `packaging` script, dependencies that exist, nothing that is called like a script of the package."""
    packages = _packages()
    assert packages
    for name, spec in packages.items():
        assert _NAME.fullmatch(name)
        assert (RELEASE / "packages" / name / "packaging").is_file()
        assert set(spec.get("dependencies") or ()) <= set(packages)
        assert not [pattern for pattern in spec["files"] if Path(pattern).name in {"packaging", "pre_packaging"}]


def test_nothing_that_is_packed_is_a_link() -> None:
    """A linked directory matches no file, and a linked file is packed as a link."""
    assert not [path for path in (RELEASE / "src").rglob("*") if path.is_symlink()]
    assert not (RELEASE / "src").is_symlink()


@pytest.mark.parametrize("name", JOBS)
def test_links_are_well_formed(name: str) -> None:
    """Name and type, each name once, and `optional` only where something is consumed."""
    for key, more in (("consumes", {"optional"}), ("provides", {"properties"})):
        links = job(name).spec.get(key, [])
        assert all({"name", "type"} <= set(link) <= {"name", "type", *more} for link in links)
        assert len({link["name"] for link in links}) == len(links)


def test_the_cells_job_needs_no_link() -> None:
    """All four are there for what is not configured, and a deployment without them is none the worse."""
    assert {link["name"] for link in job("c2c_auditor").spec["consumes"]} == {
        "vpa",
        "iptables",
        "cf_network",
        "cni_config",
    }
    assert all(link["optional"] for link in job("c2c_auditor").spec["consumes"])


@pytest.mark.parametrize("name", JOBS)
def test_every_property_is_described_and_asked_for(name: str) -> None:
    """Under the job's own name; what templates ask for is declared, and what is declared is asked for."""
    declared = job(name).properties
    assert job(name).asked() == set(declared)
    for prop, definition in declared.items():
        assert prop.startswith(f"{name}.")
        assert set(definition) <= {"description", "default", "example"}, prop
        assert definition["description"].strip(), prop


@pytest.mark.parametrize("name", JOBS)
def test_a_property_has_its_default_in_the_spec_alone(name: str) -> None:
    """A template's own default is for properties that have none: nil, or an empty text for an empty file."""
    twice = []
    for source in job(name).sources():
        for prop, default in re.findall(r"(?<![\w.])p\('([^']+)',\s*([^)]+)\)", source.read_text()):
            if default not in {"nil", "''"} or "default" in job(name).properties[prop]:
                twice.append((source.name, prop, default))
    assert twice == []


@pytest.mark.parametrize("name", JOBS)
def test_the_schema_is_for_the_same_properties(name: str) -> None:
    """Directors of 2025 and newer check them before anything is rendered.

    They are JSON Schema 2020-12, with `$schema`; without it the director refuses the job.
    """
    schema, properties = job(name).schema, job(name).properties
    if properties:
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(leaves(schema)) == set(properties)


@pytest.mark.parametrize("name", JOBS)
def test_the_schema_takes_what_a_stock_deployment_gives(name: str) -> None:
    """Nothing but defaults, and null for what has none: that is what the director checks."""
    schema = job(name).schema
    assert list(violations(render(job(name).path).properties, schema, schema)) == []


@pytest.mark.parametrize("name", JOBS)
def test_the_schema_refuses_what_is_misspelt(name: str) -> None:
    """Nothing else would notice: a template sees declared properties only."""
    schema = job(name).schema
    assert not job(name).properties or any(violations({name: {"misspelt": 1}}, schema, schema))


def test_templates_are_no_executables() -> None:
    """The mode of a file is part of the fingerprint; the agent gives its own."""
    assert [path for path in _templates() if path.stat().st_mode & stat.S_IXUSR] == []


def _templates() -> Iterator[Path]:
    for name in JOBS:
        yield from job(name).sources()
