"""What each command does, from checked arguments to files and tables on the terminal."""
