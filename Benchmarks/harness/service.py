"""The whole service beside Postfix with Dovecot, and nginx."""


def smtp_to_mailbox(setting):
    raise NotImplementedError


def rest(setting):
    raise NotImplementedError


def idle_smtp(setting):
    raise NotImplementedError
