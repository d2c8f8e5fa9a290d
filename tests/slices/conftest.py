"""What is here is no part of this repository's platform: tests copy it into one."""

collect_ignore_glob = ["*"]
