"""Search spaces of architectures as context-free grammars.

Schrodi et al., "Construction of Hierarchical Neural Architecture Search Spaces based on Context-free Grammars",
NeurIPS 2023 (arXiv 2211.01842). Written for any grammar: `Grammar(text)` reads one from a few lines, `evolve` varies
its terms, `graphs` turns them into graphs at every folding level; `jahslib.surrogates` models objectives over them.
"""
