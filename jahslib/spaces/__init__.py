"""Search spaces: ConfigSpace's configurations as dictionaries, and grammars of architectures."""
