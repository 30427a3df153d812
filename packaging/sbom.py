"""The software bill of materials of a release, in CycloneDX's JSON: every file that is staged, with its digest."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from dependencies import Dependency, dependencies
from packageurl import PackageURL


def sbom(staged: Sequence[Path], *, version: str, repository: str, epoch: int) -> str:
    """The document for the files ``staged``; the same text for the same files and ``epoch`` (seconds)."""
    files = {_name_of(file): file for file in staged if file.name != "SHA256SUMS"}
    root = _component("c2c-auditor", version, "Apache-2.0", files)
    root.type = ComponentType.APPLICATION
    root.external_references.add(ExternalReference(type=ExternalReferenceType.VCS, url=XsUri(repository)))
    known = dependencies()
    parts = {one.name: _component(one.name, one.version, one.licence, files) for one in known}
    digests = "".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in staged)
    bom = Bom(
        components=parts.values(),
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{repository}@{version}:{digests}"),
        metadata=BomMetaData(component=root, timestamp=datetime.fromtimestamp(epoch, timezone.utc)),
    )
    for name, component in {"c2c-auditor": root, **parts}.items():
        bom.register_dependency(component, _needed(name, known, parts))
    return f"{JsonV1Dot6(bom).output_as_string(indent=2)}\n"


def _needed(name: str, known: Sequence[Dependency], parts: Mapping[str, Component]) -> list[Component]:
    return [parts[one.name] for one in known if name in one.wanted_by]


def _component(name: str, version: str, licence: str, files: Mapping[str, Path]) -> Component:
    digest = hashlib.sha256(files[name].read_bytes()).hexdigest()
    purl = PackageURL("pypi", None, name, version)
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        bom_ref=str(purl),
        purl=purl,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        licenses=[LicenseFactory().make_from_string(licence)],
    )


def _name_of(file: Path) -> str:
    """The project that a wheel or a source distribution is of."""
    return file.name.split("-")[0].replace("_", "-").lower()
