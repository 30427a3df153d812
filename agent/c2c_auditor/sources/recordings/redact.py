"""Pseudonyms in a bundle: guids, handles, names and paths become made-up ones, the same in all files.

So the bundle audits the same. Ports, tags and interfaces stay, and addresses unless they are to be replaced too:
without them there is nothing left to audit. Text that is not silk's is scrambled like identifiers, for it may hold
anything: comments, log prefixes, strings that packets are searched for, names of sets, lists and others' chains, and
whatever keys silk adds some day.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping

from c2c_auditor.decoding import DecodeError, parse_json
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.table import BUILT_IN_CHAINS, TABLES
from c2c_auditor.netfilter.keywords import EXTENSION_TARGETS
from c2c_auditor.netfilter.native.messages import FAMILY_NAMES
from c2c_auditor.netfilter.targets import TARGETS
from c2c_auditor.silk.chain_names import is_container_chain, policy_chain_time
from c2c_auditor.sources.recordings.addresses import Addresses

_JSON = (
    "store.json",
    "vxlan-policy-agent.json",
    "cni-wrapper-plugin.conflist",
    "policies.json",
    "security_groups.json",
)
_BROKEN = "{"
_NAMES = {"app_name": "app", "space_name": "space", "organization_name": "org", "name": "group"}
_KEPT = (
    "tag",
    "ingress_tag",
    "protocol",
    "container_workload",
    "log_level",
    "vtep_name",
    "temporary_underlay_interface_names",
)
# Keys whose values are addresses, networks and ports, as far as they look like it.
_NETWORKS = (
    "ip",
    "ipv6",
    "ports",
    "destination",
    "overlay_network",
    "underlay_ips",
    "always",
    "running",
    "staging",
    "no_masquerade_cidr_range",
    "dns_servers",
    "host_tcp_services",
    "host_udp_services",
    "instance_address",
    "force_policy_poll_cycle_host",
    "debug_server_host",
    "metron_address",
    "policy_agent_force_poll_address",
)
_NESTED = ("log_config", "rules")
_IPV6 = r"\[?[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4})+[0-9./]*\]?(?::[0-9]+)?"
_NUMBERS = re.compile(rf"(?:{_IPV6}|[0-9.:/]*)(?:[, -](?:{_IPV6}|[0-9.:/]*))*")
_ALPHABETS = {
    sign: signs
    for signs in ("0123456789abcdef", "ghijklmnopqrstuvwxyz", "ABCDEF", "GHIJKLMNOPQRSTUVWXYZ")
    for sign in signs
}
# Options of matches and targets whose value is a text or a name that a person chose (iptables-extensions(8)).
_TEXTS = (
    "comment|log-prefix|nflog-prefix|ulog-prefix|string|hex-string|match-set|add-set|del-set|map-set|name|label"
    "|condition|path|object-pinned|aname|led-trigger-id"
)
# Where silk writes handles and guids into rules (lib/rules/rules.go, netrules/chain.go), and guids wherever they stand.
_IN_RULES = re.compile(
    r"""
    \b(?P<chain>(?:overlay|netout|input|netin)--) (?P<handle>\S+?) (?P<end>(?:--(?:rl-)?log)?) (?=\s|$)
  | \b(?P<asg>c?asg-) (?P<key>\S+)
  | (?P<limit>--hashlimit-name\ ) (?P<limited>\S+)
  | (?P<log>--log-prefix\ "?(?:OK|DENY)_(?:C2C_|ORL_)?(?:[0-9A-F]+_)?) (?P<logged>[^"\s]+)
  | (?P<option>--(?:"""
    + _TEXTS
    + r""")\ ) (?P<comment>"(?:[^"\\]|\\.)*"|\S+)
  | \b(?P<guid>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b
    """,
    re.VERBOSE | re.MULTILINE,
)
# What of a change tells nothing of anybody.
_KEPT_OF_CHANGES = ("time", "author", "act", "generation", "pid", "left_out")
_PROGRAMS = frozenset({
    "iptables", "ip6tables", "iptables-restor", "ip6tables-resto", "iptables-nft", "nft", "vxlan-policy-ag",
    "cni-wrapper-plu", "runc", "ash", "bash", "busybox", "dash", "fish", "ksh", "sh", "su", "sudo", "tcsh", "zsh",
})  # fmt: skip
_TABLES = frozenset(table.name for table in TABLES) | {*FAMILY_NAMES.values()}
_TARGETS = {*EXTENSION_TARGETS, *TARGETS[AddressFamily.IPV4], *TARGETS[AddressFamily.IPV6]}
_NO_CHAINS = _TARGETS | BUILT_IN_CHAINS | {"ACCEPT", "DROP", "QUEUE", "RETURN"}
_SET_NAME = re.compile(r'"@(?!(?:ll|nh|th|ih),)([^"]+)"')
_CHAIN = re.compile(r"^:(\S+) |^-N (\S+)", re.MULTILINE)
_CHAIN_NAME = re.compile(r"(^:|(?:^|\s)(?:-[ADEFILNPRXZjg]|--jump|--goto) )(\S+)", re.MULTILINE)


def redacted(files: Mapping[str, str], *, addresses: bool = False) -> dict[str, str]:
    """``files`` (text by name) with pseudonyms, under a key that is not kept; ``addresses``: of addresses too."""
    pseudonyms = _Pseudonyms(secrets.token_bytes(32))
    made = {name: _redact(name, text, pseudonyms) for name, text in files.items()}
    if not addresses:
        return made
    replaced = Addresses(secrets.token_bytes(32))
    return {name: replaced.in_text(text) for name, text in made.items()}


def _redact(name: str, text: str, pseudonyms: _Pseudonyms) -> str:
    if name == "cell.json":
        return _without_problems(text)
    if name == "changes.json":
        return pseudonyms.changes(text)
    if name in _JSON:
        return pseudonyms.document(text, handles=name == "store.json") if text.strip() else text
    if name == "native-tables.json":
        return pseudonyms.natives(text)
    if name == "declared_rules.json":
        return pseudonyms.declared(text)
    return pseudonyms.rules(text) if name.startswith(("iptables-save", "ip6tables-save")) else text


def _without_problems(cell: str) -> str:
    """``cell.json`` without the words of errors, which quote what was read: the reasons stay."""
    given = json.loads(cell)
    for problem in given.get("problems", ()):
        problem.update(where="redacted", problem="redacted")
    return json.dumps(given, indent=1)


class _Pseudonyms:
    """Made-up identifiers: each sign becomes one of its own sort, picked by the key and by the signs before it.

    So the beginning of a pseudonym is the pseudonym of the beginning, and without dashes it is the pseudonym without
    dashes: chain names and log prefixes still fit their handles however silk cuts them, also those of containers that
    are long gone. Different identifiers stay different. Crypto-PAn does the same for addresses.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[str, str] = {}
        self._numbers: dict[tuple[str, str], int] = {}

    def of(self, identifier: str) -> str:
        """The pseudonym of an identifier or of its beginning."""
        known = self._known.get(identifier)
        if known is None:
            rest = identifier.removeprefix("check-")  # silk leaves it out of ``asg-`` chains
            known = self._known[identifier] = identifier[: len(identifier) - len(rest)] + self._scrambled(rest)
        return known

    def _scrambled(self, text: str) -> str:
        made, before = [], b""
        for sign in text:
            signs = _ALPHABETS.get(sign)
            if signs is None:
                made.append("x" if sign.isalnum() else sign)
                continue
            shift = hashlib.blake2b(before, key=self._key, digest_size=8).digest()
            made.append(signs[(signs.index(sign) + int.from_bytes(shift, "big")) % len(signs)])
            before += sign.encode()
        return "".join(made)

    def numbered(self, kind: str, name: str) -> str:
        """A name that tells nothing, not even its length."""
        return f"{kind}-{self._numbers.setdefault((kind, name), len(self._numbers) + 1)}"

    def document(self, text: str, *, handles: bool = False) -> str:
        """JSON with its strings replaced; ``handles``: the keys of the outermost object too.

        What is no JSON stays none, and says nothing more.
        """
        try:
            given = parse_json(text)
        except DecodeError:
            return _BROKEN
        if handles and isinstance(given, dict):
            given = {self.of(handle): entry for handle, entry in given.items()}
        return json.dumps(self._value("", given))

    def _value(self, key: str, value: object) -> object:
        if isinstance(value, dict):
            return {inner: self._value(inner, item) for inner, item in value.items()}
        if isinstance(value, list):
            return [self._value(key, item) for item in value]
        return self._string(key, value) if isinstance(value, str) else value

    def _string(self, key: str, value: str) -> str:
        if not value or key in _KEPT or (key in _NETWORKS and _NUMBERS.fullmatch(value)):
            return value
        if key in _NESTED:
            return self.document(value)
        if key in _NAMES:
            return self.numbered(_NAMES[key], value)
        if key.endswith("_url"):
            return "https://redacted.invalid"
        return f"/{self.numbered('path', value)}" if value.startswith("/") else self.of(value)

    def rules(self, text: str) -> str:
        """The text of iptables-save with pseudonyms; built-in chains and targets keep their names."""
        declared = {first or second for first, second in _CHAIN.findall(text)} - BUILT_IN_CHAINS
        foreign = {chain for chain in declared if not is_container_chain(chain) and policy_chain_time(chain) is None}

        def renamed(found: re.Match[str]) -> str:
            return found[1] + (self.numbered("chain", found[2]) if found[2] in foreign else found[2])

        return self._without_sets(_IN_RULES.sub(self.in_rule, _CHAIN_NAME.sub(renamed, text)))

    def _without_sets(self, text: str) -> str:
        return _SET_NAME.sub(lambda found: f'"@{self.numbered("set", found[1])}"', text)

    def declared(self, text: str) -> str:
        """``declared_rules.json`` with the pseudonyms of the rules, and without the reasons."""
        given = json.loads(text)
        for entry in given["declared_rules"]:
            entry.update(rule=self._changed_rule(entry["rule"]), reason="redacted")
        return json.dumps(given, indent=1)

    def natives(self, text: str) -> str:
        """``native-tables.json`` with pseudonyms: of tables, chains, and the sets that rules name."""
        given = json.loads(text)
        for table in (table for tables in given.values() for table in tables):
            table["name"] = " ".join(map(self._table, table["name"].split(" ")))
            for chain in table["chains"]:
                chain["name"] = self._chain_name(chain["name"])
                place = "-t filter -A FORWARD "
                rules = (self._changed_rule(f"{place}{rule}") for rule in chain["rules"])
                chain["rules"] = [rule.removeprefix(place) for rule in rules]
        return json.dumps(given, indent=1)

    def changes(self, text: str) -> str:
        """The last changes with pseudonyms; how processes were called is left out, for that is anybody's text."""
        try:
            given = parse_json(text)
        except DecodeError:
            return _BROKEN
        changes = given.get("changes") if isinstance(given, dict) else None
        found = changes if isinstance(changes, list) else []
        return json.dumps({"changes": [self._change(one) for one in found if isinstance(one, dict)]}, indent=1)

    def _change(self, change: Mapping[str, object]) -> dict[str, object]:
        kept = {key: value for key, value in change.items() if key in _KEPT_OF_CHANGES}
        for key in ("process", "parent"):
            kept[key] = self._process(str(change.get(key, "")))
        for key in ("added", "removed", "chains"):
            lines = change.get(key)
            made = self._chain if key == "chains" else self._changed_rule
            kept[key] = [made(str(line)) for line in lines] if isinstance(lines, list) else []
        return {**kept, "command": ""}

    def _process(self, text: str) -> str:
        """``NAME`` or ``NAME (PID)``, of programs that cells have as it is."""
        name, space, pid = text.partition(" (")
        return text if name in _PROGRAMS or not name else self.numbered("process", name) + space + pid

    def _chain(self, words: str) -> str:
        """``TABLE CHAIN``, the table of nftables' own with its family before it."""
        *table, chain = words.split(" ")
        return " ".join([*map(self._table, table), self._chain_name(chain)])

    def _chain_name(self, chain: str) -> str:
        return chain if chain in _NO_CHAINS else self.rules(f":{chain} - ")[1:-3]

    def _changed_rule(self, line: str) -> str:
        """``-t TABLE -A CHAIN …``, in which nothing but its names tells a chain from a target."""
        head, _, rule = line.partition(" -A ")
        table = " ".join(map(self._table, head.removeprefix("-t ").split(" ")))
        names = {found[2] for found in _CHAIN_NAME.finditer(f"-A {rule}")} - _NO_CHAINS
        declared = "".join(f":{name} - \n" for name in sorted(names))
        return f"-t {table} " + self.rules(f"{declared}-A {rule}")[len(self.rules(declared)) :]

    def _table(self, word: str) -> str:
        return word if word in _TABLES else self.numbered("table", word)

    def in_rule(self, found: re.Match[str]) -> str:
        """What stands in a rule's text instead of ``found``."""
        if found["chain"]:
            return found["chain"] + self.of(found["handle"]) + found["end"]
        if found["asg"]:
            return found["asg"] + self.of(found["key"])
        if found["limit"]:
            return found["limit"] + self.of(found["limited"])
        if found["log"]:
            return found["log"] + self.of(found["logged"])
        if found["guid"]:
            return self.of(found["guid"])
        comment: str = found["comment"]
        start = re.match('"?src:', comment)
        if start is None:
            return found["option"] + self.of(comment)
        source, between, destination = comment[start.end() :].partition("_dst:")
        return found["option"] + start[0] + self.of(source) + between + self.of(destination)
