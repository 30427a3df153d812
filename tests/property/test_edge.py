"""The edge: whatever a file or an answer holds, its parser gives a value or its one error."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2c_auditor.config import parse_config
from c2c_auditor.errors import ConfigError, SourceError
from c2c_auditor.sources.facts.cni_config import parse_cni_config
from c2c_auditor.sources.facts.policy_answers import parse_last_updated, parse_policies, parse_security_groups
from c2c_auditor.sources.facts.store import parse_store
from c2c_auditor.sources.facts.vpa_config import parse_vpa_config
from c2c_auditor.sources.recordings.redact import redacted
from support.recordings import CELLS

CELL = CELLS / "pair-source-cell"
PARSERS: dict[str, Callable[..., object]] = {
    "store.json": parse_store,
    "vxlan-policy-agent.json": parse_vpa_config,
    "cni-wrapper-plugin.conflist": parse_cni_config,
    "policies.json": parse_policies,
    "security_groups.json": parse_security_groups,
    "policies_last_updated": parse_last_updated,
}
ODD: st.SearchStrategy[object] = st.sampled_from(
    ["", "\ud800", "a\0b", "1_0", "²", "10.0.0.0/99", "9" * 400, 10**400, -1, 0, 1.5, 1e300, True, None, [], {}, [[]]]
)
VALUES = st.recursive(
    ODD | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def _changed(value: object, data: st.DataObject) -> object:
    """``value``, JSON, with one part of it replaced by something odd."""
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(value)))
        return {**value, key: _changed(value[key], data)}
    if isinstance(value, list) and value and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(value) - 1))
        return [*value[:at], _changed(value[at], data), *value[at + 1 :]]
    return data.draw(VALUES)


@pytest.mark.parametrize("name", PARSERS)
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_a_file_with_one_part_odd_is_a_value_or_one_error(name: str, data: st.DataObject) -> None:
    """Whatever stands there; and its pseudonyms can be made."""
    text = json.dumps(_changed(json.loads((CELL / name).read_text()), data))
    with suppress(SourceError):
        PARSERS[name](text, where="x")
    redacted({name: text}, addresses=True)


@pytest.mark.parametrize("name", PARSERS)
@settings(deadline=None, max_examples=50)
@given(text=st.text(alphabet=st.sampled_from('[]{}":,0123456789.eE-+_\\u" \ud800\0²nulltrfas'), max_size=40))
def test_any_text_is_a_value_or_one_error(name: str, text: str) -> None:
    """JSON or not."""
    with suppress(SourceError):
        PARSERS[name](text, where="x")


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_settings_are_a_configuration_or_one_error(data: st.DataObject) -> None:
    """The agent's own."""
    whole = {
        "interval": 5,
        "store": "/x",
        "ingress_tag": "3",
        "host_services": ["10.0.0.1:53/udp"],
        "server": {"port": 1, "tls": {"certificate": "/c", "key": "/k"}},
    }
    with suppress(ConfigError):
        parse_config(json.dumps(_changed(whole, data)), where="x")
