"""
The sandbox's inner half: the fork server, and what confines the children that it forks.

Everything here runs in the sandbox, on the standard library alone. The parent starts it as the top-level package
`inside`, so that nothing else of the plugin needs to exist in there.
"""
