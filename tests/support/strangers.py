"""Rules of others that change no flow, and rules of others that do: for the checks and for the kernel alike."""

from __future__ import annotations

from c2c_auditor.model.kind import Effect

STRANGERS: dict[str, Effect] = {
    "-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu": Effect.ADVICE,
    "-j NFLOG --nflog-group 5": Effect.ADVICE,
    "-j CONNMARK --save-mark": Effect.ADVICE,
    "-j CLASSIFY --set-class 1:2": Effect.ADVICE,
    "-i docker0 -j ACCEPT": Effect.ADVICE,
    "-i tun+ -o docker0 -j DROP": Effect.ADVICE,
    "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT": Effect.ADVICE,
    "-m conntrack --ctstate INVALID -j DROP": Effect.ADVICE,
    "-s 192.168.0.0/16 -j DROP": Effect.ADVICE,
    "-d 10.255.2.7 -p tcp --dport 9 -m conntrack --ctstate NEW -j DROP": Effect.ADVICE,
    "-j ACCEPT": Effect.BREACH,
    "-d 10.255.2.7 -j ACCEPT": Effect.BREACH,
    "-s 10.255.0.0/16 -o eth0 -j ACCEPT": Effect.BREACH,
    "-d 10.255.2.7 -p tcp --dport 8080 -j DROP": Effect.OUTAGE,
    "-s 10.255.1.4 -j MARK --set-xmark 0x9": Effect.ADVICE,
    "-m conntrack --ctstate ESTABLISHED -j DROP": Effect.OUTAGE,
    "-d 169.254.169.254 -j DROP": Effect.OUTAGE,
}
