"""What a model looks at in a patch: occlusion, Grad-CAM, feature maps; and its surest hits and misses."""
