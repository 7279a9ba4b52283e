"""The packages, which setup.cfg cannot find: kits are part of the package, but lie in export/."""

from setuptools import find_packages, setup

KITS = {f"mkd_tf.kits.{kit}": f"export/{kit}" for kit in ("android", "coral", "micro")}

setup(packages=[*find_packages(include=["mkd_tf", "mkd_tf.*"]), *KITS], package_dir=KITS)
