"""The network: TerraMind, necks, decoder, head."""
