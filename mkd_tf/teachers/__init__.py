"""Teachers that only answer with detections: files of predictions and networks of other families.

The table is what `--teacher` names, beside the detectors of our own in `.keras` files;
several specs, separated by commas, are combined.
"""

from mkd_tf.teachers.base import OutputsTeacher, TeacherImage
from mkd_tf.teachers.building import TEACHERS, build_teacher
from mkd_tf.teachers.class_map import ClassMap, map_classes, parse_class_map
from mkd_tf.teachers.own import save_saved_model

__all__ = [
    "TEACHERS",
    "ClassMap",
    "OutputsTeacher",
    "TeacherImage",
    "build_teacher",
    "map_classes",
    "parse_class_map",
    "save_saved_model",
]
