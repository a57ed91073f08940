//! Command injection: a text that a shell, or an interpreter that starts one, would run.

use super::{Rule, rule};

/// Programs that payloads start after a separator.
macro_rules! programs {
    () => {
        r"(?:/(?:usr/)?(?:local/)?s?bin/)?(?:cat|ls|id|whoami|uname|pwd|ps|wget|curl|nc|ncat|netcat|bash|sh|zsh|ksh|csh|dash|python[\d.]*|perl|ruby|php|node|lua|ping6?|nslookup|dig|ifconfig|ipconfig|netstat|sleep|echo|printf|touch|rm|cp|mv|chmod|chown|kill|env|printenv|grep|awk|sed|tail|tac|nl|xxd|base64|tee|telnet|ssh|scp|ftp|tftp|socat|lynx|sendmail|crontab|useradd|adduser|passwd|sudo|reboot|shutdown|halt|hostname|traceroute|gcc|xterm|dir|cmd(?:\.exe)?|powershell(?:\.exe)?|net\s+(?:user|view|localgroup|share)|systeminfo|tasklist|certutil|bitsadmin|wmic|ver|type|del|systemctl|service|docker|phpinfo|w|who|last|df|mount|arp|route|head|more|less|find|eval|exec|set|export|alias|history|finger|expr|test|true|false|timeout|mkfifo|msfconsole|rundll32|regsvr32|mshta|cscript|start)"
    };
}

/// Those that prose and pasted code seldom put after a separator right at the start.
macro_rules! probes {
    () => {
        r"(?:/(?:usr/)?(?:local/)?s?bin/)?(?:cat\s+\S|ls\b|id\b|whoami|uname|pwd\b|wget\s|curl\s|nc\s|ncat\s|netcat\s|bash\s+-|sh\s+-|python[\d.]*\s+-c|perl\s+-e|ruby\s+-|php\s+-r|ping6?\s+-|nslookup\s|dig\s|ifconfig|ipconfig|netstat|sleep\s*\(?\d|rm\s+-|chmod\s|net\s+(?:user|view|localgroup)|systeminfo|tasklist|dir\b|type\s+\S*[\\.]|powershell|cmd(?:\.exe)?\s+/|reboot|shutdown|phpinfo|echo\s+\S|ping\s+\S|ps\b|env\b|printenv|uptime|w\b|ver\b|set\b|hostname|timeout\s+/?t?\s*\d|touch\s|telnet\s|tail\s|head\s|tac\s|less\s+/|more\s+/|grep\s|find\s+/|awk\s|sed\s|base64\s)"
    };
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "command-separator",
        "a program after a separator",
        (5, 1),
        concat!(
            r"(?:[;|&\n\x60]|\$\(|<\(|>\()[\s({!\x22']*",
            programs!(),
            r#"(?:[\s;|&<>\x60)$'"},]|$)"#
        ),
        "x; wget y",
    ),
    rule(
        "command-start",
        "a text that begins with a separator and a program",
        (5, 5),
        concat!(r#"^[\s'")}\]]{0,4}(?:[;|&]+|\$\()[\s({!'"$]*"#, probes!()),
        "; id",
    ),
    rule(
        "command-after-word",
        "a word, a separator and a program",
        (5, 5),
        concat!(
            r#"^[\w.@:/?=-]{0,30}['")]*\s*(?:[;|&\n]+|\$\(|\x60)[\s({!'"]*"#,
            probes!(),
            r#"[^\n]*(?:[;|&\x60)#'"]\s*$|$)"#
        ),
        "127.0.0.1|cat /etc/passwd",
    ),
    rule(
        "command-substitution",
        "the output of a program in a text",
        (5, 3),
        concat!(
            r"\$\(\s*",
            programs!(),
            r"(?:[\s;|&)]|$)|^\W{0,3}\x60\s*",
            probes!(),
            r"[^\x60]*\x60\W{0,3}$"
        ),
        "a$(whoami)b",
    ),
    rule(
        "command-file",
        "a program reads a file that tells about the system",
        (5, 5),
        r"\b(?:cat|more|less|head|tail|tac|nl|type|strings|od|xxd|cp|vi|nano|cut|grep|awk|sed|sort|rev|base64|curl|wget|scp|nc|dd|tee|ls|find)(?:\s+-\S+)*[\s<]+(?:\S*\s+)?\S*(?:/etc/(?:passwd|shadow|group|sudoers|issue)|boot\.ini|win\.ini|/proc/(?:self|version|\d)|/\.ssh/|id_rsa|/passwd\b|/shadow\b|/etc$|/etc/\*|p\*?s+wd)",
        "cat /etc/passwd",
    ),
    rule(
        "command-shell-remote",
        "a shell over the network",
        (5, 5),
        r"/dev/(?:tcp|udp)/|\b(?:nc|ncat|netcat|nc\.exe)\s+(?:-?\S+\s+)*-\w*[ec]\b|\b(?:ba|z|k)?sh\s+-i\b|mkfifo\s+\S+\s*[;&]|mknod\s+\S+\s+p\b|socat\s+\S*(?:exec|tcp)|xterm\s+-display|telnet\s+\S+\s+\d+\s*\|\s*/bin|fsockopen\s*\(|import\s+socket|socket::inet|-rsocket",
        "bash -i >& /dev/tcp/1.2.3.4/99 0>&1",
    ),
    rule(
        "command-interpreter",
        "an interpreter with its program on the line",
        (5, 2),
        r"\b(?:python[\d.]*\s+-c|perl\s+-e|ruby\s+-e|php\s+-r|node\s+-e|lua\s+-e|(?:ba|z|k|da)?sh\s+-c)\s",
        "python -c 'x'",
    ),
    rule(
        "command-download",
        "what is downloaded is run",
        (5, 2),
        r"\b(?:curl|wget|fetch|lwp-download)\s[^\n]*(?:\|\s*(?:sudo\s+)?(?:ba|z|k|da)?sh\b|;\s*(?:chmod|sh|bash|\./|perl|python)|&&\s*(?:chmod|sh|bash|\./|perl|python))|[;|&]\s*(?:wget|curl)\s+(?:-\S+\s+)*(?:https?|ftp)://",
        "wget http://x/y;sh y",
    ),
    rule(
        "command-ifs",
        "the shell's separator variable, or words in braces",
        (5, 5),
        r"\$\{?ifs\b|\{(?:cat|ls|id|wget|curl|ping|nc|echo|bash|sh|uname|sleep),",
        "cat${IFS}x",
    ),
    rule(
        "command-windows",
        "a Windows program with what payloads give it",
        (5, 5),
        r"\bcmd(?:\.exe)?\s*/[ckrv]\b|powershell(?:\.exe)?\s+(?:-\w+\s+(?:\w+\s+)?)*-(?:e|en|enc|encodedcommand|c|command|nop|noprofile|w|windowstyle|ep|exec|executionpolicy|noni|file)\b|certutil(?:\.exe)?\s+.*-(?:urlcache|decode)|bitsadmin\s+/transfer|wmic\s+(?:process|os|useraccount)|\breg\s+(?:add|query|delete)\s+hk|\bnet\s+(?:user|localgroup)\s+\S+\s*(?:\S+\s*)?/add|\biex\s*\(|invoke-(?:expression|mimikatz|shellcode)|\(new-object\s+(?:system\.)?net\.webclient\)|downloadstring\s*\(|rundll32\s+\S+,|mshta\s+(?:http|vbscript|javascript)|regsvr32\s+/",
        "cmd.exe /c dir",
    ),
    rule(
        "command-binary",
        "a program by its whole path, or by wildcards",
        (5, 2),
        r"/(?:usr/)?(?:local/)?s?bin/(?:ba|z|k|c|da)?sh\b|/(?:usr/)?bin/(?:cat|ls|id|nc|ping|echo|uname|sleep|ps|wget|curl|python|perl|whoami|pwd)\b|/\?{2,3}/[\w?*]|/b[i?*\[][n?*\]]*/[\w?*\[\]-]*[?*]|system32\\+\w+\.exe",
        "/bin/cat x",
    ),
    rule(
        "command-code",
        "code that starts a program",
        (5, 2),
        r#"\b(?:system|shell_exec|exec|passthru|popen|proc_open|pcntl_exec|assert|execsync|spawnsync|create_function|call_user_func|preg_replace)\s*\(\s*["'$\x60\[]|<\?(?:php\b|=)|__import__\s*\(|\bos\s*\.\s*(?:system|popen|exec\w*)\s*\(|\bsubprocess\s*\.\s*(?:popen|call|run|check_output)|getruntime\s*\(\s*\)|\bprocessbuilder\b|child_process|\bphpinfo\s*\(|\beval\s*\(\s*(?:\$_|base64_decode|gzinflate|compile)|\$_(?:get|post|request|cookie)\s*\["#,
        "system('id')",
    ),
    rule(
        "command-code-runs",
        "code that starts a program as payloads do",
        (5, 5),
        r#"(?:system|exec|passthru|shell_exec|popen|execsync|spawn|backticks)\s*\(\s*["'\x60]\s*(?:cat\s|id\b|ls\b|whoami|uname|nc\s|curl\s|wget\s|ping\s|sleep\s|cmd|calc|touch\s|bash|/bin/|dir\b|rm\s|echo\s|type\s|ifconfig|ipconfig|powershell|net\s)|__import__\s*\(\s*["']os["']\s*\)\s*\.|^\W{0,8}(?:system|exec|passthru|shell_exec|phpinfo)\s*\(.*\)\s*;?\W{0,6}$|<\?(?:php)?\s*(?:@?(?:system|exec|passthru|shell_exec|eval|assert|phpinfo)\s*\(|=\s*\x60)|\$_(?:get|post|request)\s*\[[^\]]*\]\s*\)"#,
        "<?php system($_GET['c']); ?>",
    ),
    rule(
        "command-formula",
        "a formula that starts a program or fetches something",
        (5, 5),
        r"^[=+@-]\s*(?:(?:cmd|dde|mshta|rundll32|powershell|msexcel)\s*\|?\s*[(|'\x22]|(?:hyperlink|importxml|importdata|importhtml|importfeed|webservice)\s*\()",
        "=cmd|'/C calc'!A0",
    ),
    rule(
        "command-shellshock",
        "a function definition in an environment variable",
        (5, 5),
        r"\(\)\s*\{\s*(?::|_|foo|\w*\s*[=>]*)?[^}]{0,20};?\s*\}\s*(?:>_\[\$\(\$\(\)\)\]\s*\{|;)",
        "() { :;}; echo x",
    ),
    rule(
        "command-include",
        "a server-side include",
        (5, 5),
        r"<!--#\s*(?:exec|include|echo|config|printenv|set|fsize)\b",
        "<!--#exec cmd=\"ls\"-->",
    ),
    rule(
        "command-delay",
        "a program that only waits, after a separator",
        (5, 4),
        r"(?:[;|&\x60]|\$\()\s*(?:sleep\s+\d+|timeout\s+(?:/t\s+)?\d+|ping\s+-[cn]\s*\d+)",
        "x & ping -c 10 127.0.0.1 &",
    ),
];
