"""L2: netfilter's language and its meaning: parsing, canonical form, rendering; what rules do to packets and flows.

Pure, and without knowledge of silk: which rules should be there belongs to `silk`.
"""
