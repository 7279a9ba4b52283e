"""Detection: anchors, boxes, targets, losses, layers and post-processing that every detector shares."""
