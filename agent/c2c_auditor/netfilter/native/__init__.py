"""Decodes rules of nf_tables, which are programs of small expressions, as the kernel gives them over netlink.

Pure: how the bytes are read belongs to `sources.rules`. iptables-nft writes some conditions as expressions and others
as xtables' own matches (`netfilter.binary`); versions differ in which, and one rule has one value here all the same.
"""
