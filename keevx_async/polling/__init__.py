"""When to ask about a task, learned from how long tasks take."""
