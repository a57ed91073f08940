//! Applies the colours chosen earlier before the first paint; the only classic script, because modules run too late for that.
try { document.documentElement.dataset.theme = localStorage.getItem('tidegate.theme') ?? ''; } catch { /* storage is closed: follow the system */ }
