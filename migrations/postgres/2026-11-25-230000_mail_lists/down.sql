DROP INDEX mails_by_state;
DROP INDEX mails_newest;
