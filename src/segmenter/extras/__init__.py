"""Parts beside the core, which never imports them: each has a command of its own."""
