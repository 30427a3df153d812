"""The renderer that the other tests trust: each rule of BOSH's templates that is easily got wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.erb import RenderError, parse_yaml, render

Eval = Callable[..., str]


@pytest.fixture
def evaluate(tmp_path: Path) -> Eval:
    """Render one template of a job with three properties.

    They are ``a.flag`` (default true), ``a.text`` (no default) and ``a.deep.number`` (default 1).
    """
    (tmp_path / "templates").mkdir()
    (tmp_path / "monit").write_text("<%= p('a.deep.number') %>")
    (tmp_path / "spec").write_text(
        "name: x\ntemplates: {t.erb: config/t}\nproperties:\n  a.flag: {default: true}\n  a.text: {description: "
        "x}\n  a.deep.number: {default: 1}\n"
    )

    def run(template: str, *, given: Mapping[str, Any] | None = None, links: Mapping[str, Any] | None = None) -> str:
        (tmp_path / "templates" / "t.erb").write_text(template)
        return render(tmp_path, given=given, links=links).files["config/t"]

    return run


def test_false_is_a_value(evaluate: Eval) -> None:
    """For p, which keeps it from the default, and for if_p, which yields it."""
    assert evaluate("<%= p('a.flag') %>", given={"a.flag": False}) == "false"
    assert (
        evaluate("<% if_p('a.flag') { |flag| %><%= flag %><% }.else { %>else<% } %>", given={"a.flag": False})
        == "false"
    )


def test_null_in_a_manifest_is_no_value(evaluate: Eval) -> None:
    """The default of the spec takes its place."""
    assert evaluate("<%= p('a.flag') %>", given={"a.flag": None}) == "true"


def test_a_missing_property_is_an_error_that_names_it_and_the_line(evaluate: Eval) -> None:
    """And every name that was tried."""
    with pytest.raises(
        RenderError, match=r"Error filling in template 't\.erb' \(line 2: Can't find property '\[\"a\.text\"\]'\)"
    ):
        evaluate("\n<%= p('a.text') %>")
    with pytest.raises(RenderError, match=r"\[\"a\.text\", \"b\"\]"):
        evaluate("<%= p(['a.text', 'b']) %>")


def test_a_default_in_the_template_counts_by_being_given(evaluate: Eval) -> None:
    """Also when it is nil or false."""
    assert (
        evaluate("<%= p('a.text', 'd') %>|<%= p('a.text', nil).inspect %>|<%= p('a.text', false) %>") == "d|nil|false"
    )


def test_the_first_of_several_names_that_has_a_value(evaluate: Eval) -> None:
    """In the order given."""
    assert evaluate("<%= p(['a.text', 'a.deep.number']) %>") == "1"


def test_what_the_spec_does_not_declare_is_invisible(evaluate: Eval) -> None:
    """Even if the manifest gives it."""
    with pytest.raises(RenderError, match="Can't find property"):
        evaluate("<%= p('a.other') %>", given={"a.other": 1})


def test_a_branch_is_a_hash_with_nil_for_what_has_no_value(evaluate: Eval) -> None:
    """Declared names only."""
    assert evaluate("<%= p('a').inspect %>") == '{"flag"=>true, "text"=>nil, "deep"=>{"number"=>1}}'


def test_a_path_through_what_is_no_hash_is_an_error(evaluate: Eval) -> None:
    """As in the director, which says what it expected."""
    with pytest.raises(RenderError, match="expects a hash, but received"):
        evaluate("<%= p('a.flag.below') %>")


def test_if_p_wants_all_its_names(evaluate: Eval) -> None:
    """Or goes on along its chain, of which only one part is taken."""
    chain = (
        "<% if_p('a.flag', 'a.text') { |f, t| %>both <%= t %>"
        "<% }.else_if_p('a.text') { %>text<% }.else { %>neither<% } %>"
    )
    assert evaluate(chain) == "neither"
    assert evaluate(chain, given={"a.text": "x"}) == "both x"


def test_a_link_that_is_not_there_is_an_error(evaluate: Eval) -> None:
    """Unless it was asked for with if_link."""
    with pytest.raises(RenderError, match="Can't find link 'vpa'"):
        evaluate("<%= link('vpa').p('x') %>")
    assert evaluate("<% if_link('vpa') { %>there<% }.else { %>absent<% } %>") == "absent"
    assert evaluate("<% if_link('vpa') { %>there<% }.else_if_p('a.flag') { %>flag<% } %>") == "flag"


def test_a_link_has_the_same_rules(evaluate: Eval) -> None:
    """Properties, instances, and no address unless somebody gave one."""
    links = {"vpa": {"properties": {"a": {"b": False}, "c": None}, "instances": [{"address": "x", "index": 0}]}}
    assert evaluate("<%= link('vpa').p('a.b') %> <%= link('vpa').p('c', 'd') %>", links=links) == "false d"
    assert evaluate("<% link('vpa').if_p('c') { %>c<% }.else { %>no c<% } %>", links=links) == "no c"
    assert evaluate("<%= link('vpa').instances.map(&:address).first %>", links=links) == "x"
    with pytest.raises(RenderError, match="address"):
        evaluate("<%= link('vpa').address %>", links=links)


def test_the_instance_is_there_and_what_it_does_not_have_is_nil(evaluate: Eval) -> None:
    """Also silk's own way to its addresses."""
    assert (
        evaluate("<%= spec.networks.to_h.values.map(&:ip).join %> <%= spec.nothing.inspect %> <%= name %>")
        == "10.0.0.101 nil diego-cell"
    )


def test_lines_are_trimmed_with_dashes_only(evaluate: Eval) -> None:
    """Trim mode "-"."""
    assert evaluate("<%- x = 1 -%>\n<%= x -%>\n<% x = 2 %>\n<%= x %>\n") == "1\n2\n"


def test_nothing_leaks_from_one_template_to_the_next(tmp_path: Path) -> None:
    """Each has its own context; monit is a template like any other; all errors are told."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "spec").write_text("name: x\ntemplates: {a.erb: a, b.erb: b}\nproperties: {}\n")
    (tmp_path / "templates" / "a.erb").write_text("<% @kept = 1; def helper; end %>")
    (tmp_path / "templates" / "b.erb").write_text("<%= @kept.inspect %>")
    (tmp_path / "monit").write_text("<%= 1 + 1 %>")
    assert render(tmp_path).files == {"a": "", "b": "nil", "monit": "2"}
    for name in ("a.erb", "b.erb"):
        (tmp_path / "templates" / name).write_text("<%= p('none') %>")
    with pytest.raises(RenderError) as caught:
        render(tmp_path)
    assert "a.erb" in str(caught.value)
    assert "b.erb" in str(caught.value)


def test_yaml_is_read_as_the_director_reads_it() -> None:
    """YAML 1.1 and all."""
    assert parse_yaml("a: yes\nb: [1, '2']\nc:\n") == {"a": True, "b": [1, "2"], "c": None}
