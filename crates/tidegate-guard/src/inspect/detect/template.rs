//! Template injection (SSTI): an expression that a template engine on the server would compute.

use super::{Rule, rule};

pub(super) const RULES: &[Rule] = &[
    rule(
        "template-sum",
        "an expression whose value only shows that it was computed",
        (5, 5),
        r#"(?:\{\{-?|\$\{\{?|#\{|\*\{|@\{|%\{|~\{|\{=|\{@|\[\[\$?\{?|\{%-?|<%=?|\{\{=|\{\{\{|\{|@\()\s*["']?\d+["']?\s*[*+/-]\s*["']?\d+["']?\s*(?:-?\}|%>|\]|\))|\{\{\s*(?:["'][^"']{0,10}["']\s*[*+|.]|\[\]|\(\)|range\.|this\b|dump\b|\x60|7)"#,
        "{{7*7}}",
    ),
    rule(
        "template-python",
        "a Python object's way to the interpreter",
        (5, 5),
        r#"\{[{%][^\n]*?(?:__\w+__|\bconfig\b\s*(?:\.|\[|\}|\|)|\bself\b[._\[]|request\s*[.\[|]|lipsum|cycler|joiner|namespace\b|url_for|get_flashed_messages|g\.pop|\|\s*attr|popen|\bsystem\s*\(|import\s|include\s|debug\b|settings\.secret|app\b\.)|__class__\W{1,6}__(?:mro|bases?|subclasses|init)__|__(?:globals|subclasses)__\W{1,6}(?:__builtins__|popen|system|os\b)|\[\s*["']__(?:class|mro|subclasses|globals|builtins|bases?)__["']|\{\{\s*(?:request|config|self)\s*\}\}"#,
        "{{''.__class__.__mro__}}",
    ),
    rule(
        "template-php",
        "a PHP template's way to the system",
        (5, 5),
        r#"\{\{[^\n]*?(?:_self|\|\s*(?:filter|map|sort|reduce|join)\s*\(|app\.request|\bdump\s*\(|_context|getfilter|registerundefinedfiltercallback|source\s*\(|include\s*\()|\{php\}|\{(?:system|exec|passthru|shell_exec|phpinfo|fetch)\s*[(\s]|\{\s*\$smarty\b|\{if\s+(?:phpinfo|system|exec|readfile|passthru)|\{self::|smarty_internal"#,
        "{{_self.env.getFilter('id')}}",
    ),
    rule(
        "template-java",
        "a Java expression's way to the runtime",
        (5, 5),
        r#"[$#*%@~]\{[^\n]*?(?:\bt\s*\(\s*java|java\.(?:lang|util|io|net)|getruntime|getclass|\.class\b|\["class"\]|class\.forname|processbuilder|\.exec\s*\(|\bnew\s+\w|freemarker|scriptengine|springmacro|product\.|\bsession\b|applicationscope|sessionscope|requestscope|facescontext|@java|#_memberaccess|#context|#cmd|ognl|whitelist|pagecontext|"\.getclass|''\.|""\.)|\{\{[^\n]*?(?:getclass\s*\(|\.class\.|forname|scriptenginemanager|beans\.|request\.getclass)|freemarker\.template\.utility|<#(?:assign|list|include|setting|function|import)\b|#(?:set|evaluate|foreach|include|parse)\s*\(\s*["'$]|\$class\.inspect|\$!?\{?\w+\.(?:getclass|class)\b|__\$\{|\(#\w+\s*=|::\s*\.x$"#,
        "${T(java.lang.Runtime).getRuntime().exec('id')}",
    ),
    rule(
        "template-ruby-node",
        "a Ruby or JavaScript template's way to the system",
        (5, 5),
        r#"<%[=-]?\s*(?:system|exec|\x60|file\.|dir\.|io\.|%x|self\b|global\.|process\.|require|kernel|open\s*\(|import|foobar|class\b|\d)|#\{\s*(?:system|%x|\x60|exec|file\.|io\.|global|root|process|function|this|require|\d)|\{\{#?\s*(?:with|this|each|lookup|constructor|require|process|global)[^\n]*(?:constructor|split|process|require|push|lookup|mainmodule|sub\b)|(?:\$|!)\{[^\n]*?(?:global\.process|process\.(?:mainmodule|env|binding)|require\s*\(|mainmodule|constructor)|mainmodule\.require"#,
        "<%= system('id') %>",
    ),
    rule(
        "template-expression",
        "an expression in a template's delimiters",
        (5, 0),
        r"\{\{.+?\}\}|\$\{[^}]+\}|#\{[^}]+\}|<%.+?%>|\{%.+?%\}|\*\{[^}]+\}|%\{[^}]+\}|\[\[\$",
        "{{ x }}",
    ),
    rule(
        "template-razor",
        "a Razor expression",
        (5, 3),
        r"@\(\s*(?:\d+\s*[*+/-]\s*\d+|system|process|new\b|[\w.]+\()|@\{\s*(?:var|system|new|//)|@system\.|@model\.gettype",
        "@(1+2)",
    ),
];
