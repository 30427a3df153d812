"""L4: compares the rules that should be there with those that are, and works out what the difference does to traffic.

Pure: readings and times come in, judgements and reports go out. Input, output and clocks belong to the layers above;
the shapes of silk's rules belong to `silk`.
"""
