"""silk's commands, one deed each, without a kernel: what the demo's silk runs, applied to tables that are held here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from attrs import define, field, frozen

from c2c_auditor.model import rule as r
from c2c_auditor.model.change import ChainPlace, Deed
from c2c_auditor.model.table import TABLES
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.netfilter.render import render_rule
from c2c_auditor.silk.authorship import classified
from demo import rules
from demo.silk import RELEASES, Iptables, Silk
from demo.world import PUBLIC, App, Instance, NetworkPolicy

_PARSER = RuleParser()
_APP = App(guid="6b817f74-98d2-4602-a695-7fe5290ffb61", name="a", space="s", space_guid="")
_POLICY = NetworkPolicy(source=_APP.guid, destination=_APP.guid, first=8080, last=8080)
_IPV4 = r.AddressFamily.IPV4


@frozen(kw_only=True)
class Committed:
    """One commit: the process's name as the kernel tells it, how it was called, and what it did."""

    process: str
    command: str
    deed: Deed

    @property
    def verdict(self) -> tuple[str, str]:
        """Author and act, when nobody saw who started the process."""
        author, act = classified(self.process, "", self.deed)
        return author.value, act.value


@define
class Kernel:
    """Tables, and the commits to them; `run` takes the place of `demo.command.run`."""

    chains: dict[ChainPlace, list[r.Rule]] = field(factory=dict)
    commits: list[Committed] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.chains = {ChainPlace(_IPV4, table.name, hook.value): [] for table in TABLES for hook in table.hooks}

    def run(self, arguments: Sequence[str], text: str = "", codes: Sequence[int] = (0,)) -> str:
        """A program of iptables; what it is not to do here ends in KeyError."""
        del codes
        program, _, table, *words = arguments[0], *arguments[1:]
        if program.endswith("-save"):
            return self._saved(table)
        if program.endswith("-restore"):
            head, *lines = text.splitlines()
            self._commit("iptables-restor", " ".join(lines[:-1]), head[1:], [line.split(" ") for line in lines[:-1]])
        else:
            self._commit("iptables", " ".join(words), table, [[word for word in words if word != "--wait"]])
        return ""

    def _commit(self, process: str, command: str, table: str, lines: list[list[str]]) -> None:
        deed = _Deed()
        for words in lines:
            self._do(deed, table, *words)
        if deed.chains:
            made = Deed(
                chains=frozenset(deed.chains),
                added={place: tuple(rules) for place, rules in deed.added.items()},
                removed={place: tuple(rules) for place, rules in deed.removed.items()},
                made=frozenset(deed.made),
                lost=frozenset(deed.lost),
            )
            self.commits.append(Committed(process=process, command=command, deed=made))

    def _do(self, deed: _Deed, table: str, verb: str, name: str, *rest: str) -> None:
        place = ChainPlace(_IPV4, table, name)
        if verb == "-N":
            if place in self.chains:
                return
            self.chains[place] = []
            deed.made.add(place)
        elif verb == "-X":
            if self.chains.pop(place, None) is None:
                return
            deed.lost.add(place)
        elif verb == "-E":
            old, place = place, place._replace(chain=rest[0])
            self.chains[place] = self.chains.pop(old)
            renamed = r.Rule(target=r.Jump(chain=place.chain))
            for them in self.chains.values():
                them[:] = [renamed if rule == r.Rule(target=r.Jump(chain=old.chain)) else rule for rule in them]
        elif verb == "-F":
            deed.removed.setdefault(place, []).extend(self.chains[place])
            self.chains[place] = []
            if not deed.removed[place]:
                return
        else:
            self._do_rule(deed, place, verb, *rest)
        deed.chains.add(place)

    def _do_rule(self, deed: _Deed, place: ChainPlace, verb: str, *rest: str) -> None:
        rules = self.chains[place]
        if verb == "-D":
            at = int(rest[0]) - 1 if rest[0].isdigit() else rules.index(_PARSER.rule(" ".join(rest)))
            deed.removed.setdefault(place, []).append(rules.pop(at))
            return
        inserted = verb == "-I"
        rule = _PARSER.rule(" ".join(rest[inserted:]))
        rules.insert(int(rest[0]) - 1 if inserted else len(rules), rule)
        deed.added.setdefault(place, []).append(rule)

    def _saved(self, table: str) -> str:
        return "".join(
            f"{render_rule(rule, place.chain)}\n"
            for place, rules in self.chains.items()
            if place.table == table
            for rule in rules
        )


@define
class _Deed:
    chains: set[ChainPlace] = field(factory=set)
    added: dict[ChainPlace, list[r.Rule]] = field(factory=dict)
    removed: dict[ChainPlace, list[r.Rule]] = field(factory=dict)
    made: set[ChainPlace] = field(factory=set)
    lost: set[ChainPlace] = field(factory=set)


@frozen(kw_only=True)
class At:
    """A container at work: what silk did, in the order of the commits."""

    what: str
    commits: tuple[Committed, ...]


def days_work(containers: int) -> Iterator[At]:
    """Containers come, policies and security groups change, containers go, by both releases of silk."""
    here = [
        Instance(handle=f"{number:08x}-caea-4518-bd5e-5ee3", address=f"10.255.30.{number}", app=_APP, host_port=61016)
        for number in range(4, 4 + containers)
    ]
    for release in RELEASES.values():
        kernel = Kernel()
        silk = Silk(iptables=Iptables(backend="nft", run=kernel.run), groups=(PUBLIC,), release=release)
        for what, work in _acts(silk, here):
            kernel.commits.clear()
            work()
            yield At(what=what, commits=tuple(kernel.commits))


def _acts(silk: Silk, here: Sequence[Instance]) -> Iterator[tuple[str, Callable[[], None]]]:
    for count, instance in enumerate(here, 1):
        yield "policies", partial(silk.plan, here[:count], [_POLICY], {_APP.guid: 1})
        yield "created", partial(silk.create, instance)
    for instance in here:
        yield "groups", partial(_swap_groups, silk.iptables, instance)
    for instance in here:
        yield "deleted", partial(silk.delete, instance)


def _swap_groups(iptables: Iptables, instance: Instance) -> None:
    """VPA replaces a container's security groups, in the steps of the film's ``security group for the space added``."""
    netout, asg = rules.chain("netout", instance.handle), rules.asg_chain(instance.handle)
    iptables.command("filter", "-N", f"c{asg}")
    iptables.restore("filter", f"-I {netout} 1 -j c{asg}")
    iptables.restore("filter", *(f"-A c{asg} {rule}" for rule in rules.asg_rules((PUBLIC,), "")))
    iptables.command("filter", "-D", netout, "-j", asg)
    iptables.command("filter", "-N", asg)
    iptables.command("filter", "-F", asg)
    iptables.command("filter", "-X", asg)
    iptables.command("filter", "-E", f"c{asg}", asg)
    iptables.command("filter", "-D", netout, "2")
    iptables.command("filter", "-A", netout, *rules.REJECT.split())
