//! Values of filters with which a visitor of the links would attack who looks at the dashboards.

/// Each ends a literal, a statement or an attribute where a query or a page does not encode it.
pub const HOSTILE: [&str; 5] = [
    "a'b\\c%d\"<script>",
    "') OR 1=1 --",
    "%27) OR 1=1 /* ${link} $__all {{x}} */",
    "größe\u{1F600}\u{202E}\u{0}\n",
    "a backslash at the end\\",
];
