"""From logits to lakes: components, outlines, areas and their uncertainty."""
