"""From pixels to logits: engines, models and the choice between them."""
