"""What several tests share; a test writes ``from support.x import y``."""
