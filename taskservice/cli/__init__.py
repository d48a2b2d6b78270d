"""The command line.

main       the commands, and how errors become exit codes        render   tables, JSON, errors
tasks      submit, list, show, logs, cancel                      admin    tenant, key
top        a live view: top_view says what it shows
up         up, down, status        doctor    what is wrong here, and what to do: checks, bucket_checks
serving    a service in the foreground, from start to end        sample   a payload to try
journal    verify, dump, stats and copy of the state             journal_work, journal_view   how, and what they show
daemon     the one service of a home: pid file, background, stop  processes   which processes are its own
"""
