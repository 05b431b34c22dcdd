"""From a heatmap to outlines with measurements."""
