"""mkd_tf: knowledge distillation of object detectors by multiple strategies."""
