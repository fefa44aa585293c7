"""Search spaces: ConfigSpace configurations as dictionaries, and grammars of architectures."""
