"""What stands beside the core, which never imports it: each part has a command of its own."""
