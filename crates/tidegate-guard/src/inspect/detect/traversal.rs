//! Path traversal and inclusion of files: a text that names a file outside of where it may look.

use super::{Rule, rule};

/// Files that payloads ask for to show that they can.
macro_rules! files {
    () => {
        r"(?:etc/+(?:passwd|shadow|group|hosts|issue|motd|sudoers|crontab|ssh|nginx|apache|httpd|mysql|php|fstab|hostname|resolv|my\.cnf|security|init|release|profile|os-release|inetd|default|redhat|lighttpd|samba|vsftpd|proftpd|rc\.|cron|network|at\.|bash|master|csh|ftp|opt|aliases|logrotate|modules|mtab|exports|pam|sysconfig|services|syslog|updatedb|wu-ftpd|x11|pure-ftpd|chrootusers|snmp|webmin|squirrelmail|openldap|mail|termcap|vhcs)|proc/+(?:self|version|cpuinfo|meminfo|mounts|net|cmdline|\d)|var/+(?:log|www|mail|lib|run|spool|apache|mysql|cpanel|adm|local)|root/|home/\w|usr/+(?:local|lib|etc|share|ports|pkg|home|sbin)|opt/|apache\d?/|logs?/|win(?:dows|nt)|boot\.ini|win\.ini|system32|autoexec|inetpub|program\s?files|xampp|web-inf|meta-inf|web\.config|\.ht(?:access|passwd)|\.git/|\.svn/|\.env\b|id_rsa|\.ssh|\.bash_history|\.aws/|wp-config|config\.(?:php|inc|xml|ya?ml|json)|secrets?\b|database\.ya?ml|settings\.py|bin/|tmp/|dev/|index\.(?:php|html?)|global\.asa|cmd\.exe|localstart|nginx\.conf|httpd\.conf|access\.log|error\.log|passwd|shadow|documents\sand\ssettings|users/\w|boot/|install/|scripts/|cgi-bin|winnt)"
    };
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "traversal-up",
        "two steps up",
        (5, 2),
        r"\.\.[/\\]+(?:[\w.-]+[/\\]+)?\.\.(?:[/\\]|$)|(?:^|[/\\])\.\.(?:[/\\]+\.\.)+",
        "../../x",
    ),
    rule(
        "traversal-up-once",
        "one step up",
        (4, 0),
        r"(?:^|[=/\\:?&\s'\x22])\.\.[/\\]|[/\\]\.\.$",
        "a/../b",
    ),
    rule(
        "traversal-up-far",
        "five steps up and more",
        (5, 5),
        r"(?:\.\.[/\\]+){5}|(?:\.\.[/\\]+){4}\.\.(?:\x00|$)",
        "../../../../../x",
    ),
    rule(
        "traversal-file",
        "a step up, then a file that tells about the system",
        (5, 5),
        concat!(r"\.\.[/\\]+(?:[^\s'\x22<>]*[/\\])?\.{0,2}[/\\]*", files!()),
        "../etc/passwd",
    ),
    rule(
        "traversal-spelt",
        "steps up, spelt so that a filter does not see them",
        (5, 5),
        r"\.{3,}[/\\]+\.{3,}[/\\]|\.\.;[/\\]|(?:\.|%2e|%252e|0x2e|%c0%ae|%uff0e){2}(?:%2f|%5c|%252f|%255c|0x2f|0x5c|%c0%af|%c1%9c|%u2215|%u2216|\xe2\x88\x95|\xe2\x88\x96)|(?:%2e|%252e|0x2e|%c0%ae){2}[/\\]|(?:\.\.\\){2}|(?:\.\.[/\\]{2,}){2}|\.%00\.[/\\]",
        "....//....//x",
    ),
    rule(
        "traversal-system-file",
        "a file that tells about the system",
        (5, 2),
        r"(?:^|[\s/\\='\x22:])etc[/\\]+(?:passwd|shadow|group|hosts|issue|sudoers|crontab|ssh|fstab|httpd|nginx|apache|mysql|php)|/proc/(?:self|version|cpuinfo|\d+)/?|boot\.ini|\bwin\.ini|system32[/\\]|web-inf[/\\]|\bweb\.config\b|\.ht(?:access|passwd)\b|\.git/(?:config|head|index)|\.svn/|\bid_rsa\b|\.ssh/|\.bash_history|\.aws/credentials|\bwp-config|/var/(?:log|www|mail|lib|run)/|\bc:[/\\]+(?:windows|winnt|boot|inetpub|users|xampp|program)|\binetpub[/\\]|[/\\]win(?:dows|nt)[/\\]|/root[/\\]\.",
        "/etc/passwd",
    ),
    rule(
        "traversal-absolute",
        "nothing but the path of a file that tells about the system",
        (5, 5),
        r"^['\x22]?(?:file:)?(?:/|\\|\./|[a-z]:[/\\])*(?:etc[/\\]+(?:passwd|shadow|group|sudoers|issue|hosts|crontab|fstab|ssh/\w+|master\.passwd)|proc/(?:self/\w|version|cpuinfo)|\.(?:git/(?:config|head|index)|svn/entries|aws/credentials|htpasswd)|(?:windows|winnt)[/\\]+(?:win\.ini|system32|system\.ini|repair)|boot\.ini|web-inf/\w|var/log/\S+\.log|root/\.\w|\S*/?\.ssh/\w)\S*$|etc/(?:passwd|shadow)(?:%00|\x00|%0a|%2500|\.\w{3}$)",
        "/etc/passwd",
    ),
    rule(
        "traversal-wrapper",
        "a URL that reads what a file's name should not",
        (5, 5),
        r"\bphp:/{1,2}(?:filter|input|memory|temp|fd)|\b(?:expect|gopher|phar|dict|glob|ogg|ssh2|rar|zip)://\S|\bnetdoc:|\bjar:(?:http|file)|\bdata://text|\bcompress\.(?:zlib|bzip2)://",
        "php://filter/read=x",
    ),
    rule(
        "traversal-file-url",
        "a file's URL",
        (5, 3),
        r"\bfile:[/\\]+\S",
        "file:///x",
    ),
    rule(
        "traversal-nul",
        "a name cut by a zero octet",
        (5, 4),
        r"%00(?:\.\w{2,5})?$|\.\w{2,5}%00",
        "a.php%00.jpg",
    ),
    rule(
        "traversal-share",
        "a name on another machine",
        (4, 2),
        r"^\\\\[\w.-]+\\\w",
        "\\\\host\\share",
    ),
];
