"""From a response to its outcome: graders, and the processes they run in."""
