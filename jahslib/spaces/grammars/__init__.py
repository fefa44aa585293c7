"""Search spaces of architectures as context-free grammars, and surrogates over their terms.

Schrodi et al., "Construction of Hierarchical Neural Architecture Search Spaces based on Context-free Grammars",
NeurIPS 2023 (arXiv 2211.01842). Written for any grammar: `Grammar(text)` reads one from a few lines, `evolve` varies
its terms, `graphs` turns them into graphs at every folding level, `wl`, `kernels` and `gp` model a value over them.
"""

import warnings

# GPyTorch compiles a function when it is imported, in a way that torch has come to warn of.
warnings.filterwarnings("ignore", message=r".*torch\.jit", category=FutureWarning, module=r"torch\.jit")
