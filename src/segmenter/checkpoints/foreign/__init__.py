"""Models and configs of other code bases, turned into ours."""
