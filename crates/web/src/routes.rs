//! Paths, and the files of the page.

use hyper::StatusCode;

use crate::reply::{Reply, whole};

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The page, or its login form.
    Page,
    /// A file of the page, in which there is nothing to protect.
    File(&'static str, &'static str),
    /// The status as JSON.
    Status,
    /// The status again and again.
    Events,
    /// Metrics.
    Metrics,
    /// Whether the program is alive.
    Health,
    /// Whether it can do its work.
    Ready,
    /// A cookie for a token.
    Login,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

impl Route {
    /// The route of a path; there is no other.
    pub(crate) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Page,
            "/page.css" => Self::File(CSS, include_str!("page/page.css")),
            "/page.js" => Self::File(JS, include_str!("page/page.js")),
            "/login.js" => Self::File(JS, include_str!("page/login.js")),
            "/icon.svg" => Self::File(SVG, include_str!("page/icon.svg")),
            "/status.json" => Self::Status,
            "/events" => Self::Events,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/login" => Self::Login,
            _ => return None,
        })
    }
}

/// The status page.
pub(crate) fn page() -> Reply {
    whole(StatusCode::OK, HTML, include_str!("page/index.html"))
}

/// The form that asks for a token.
pub(crate) fn login_form() -> Reply {
    whole(StatusCode::UNAUTHORIZED, HTML, include_str!("page/login.html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file that the page names is one of its own.
    #[test]
    fn the_page_takes_nothing_from_elsewhere() {
        let pages = [include_str!("page/index.html"), include_str!("page/login.html")];
        for page in pages {
            let mut named = 0;
            for attribute in ["src=\"", "href=\""] {
                for rest in page.split(attribute).skip(1) {
                    let file = rest.split('"').next().unwrap();
                    assert!(matches!(Route::of(&format!("/{file}")), Some(Route::File(..))), "{file}");
                    named += 1;
                }
            }
            assert!(named >= 3, "a style, a script and an icon");
        }
        let all =
            [pages[0], pages[1], include_str!("page/page.js"), include_str!("page/login.js"), include_str!("page/page.css")];
        for text in all {
            // SVG has a namespace, which is no address; scripts take none.
            assert!(!text.contains("http:") && !text.contains("https:") && !text.contains("url("), "{text}");
        }
    }

    /// What a remote has chosen is put into the page as text and never as HTML.
    #[test]
    fn scripts_make_no_html_of_texts() {
        for script in [include_str!("page/page.js"), include_str!("page/login.js")] {
            for sink in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "Function(",
                "srcdoc",
                "setAttribute(\"on",
            ] {
                assert!(!script.contains(sink), "{sink}");
            }
        }
        for page in [include_str!("page/index.html"), include_str!("page/login.html")] {
            for inline in ["style=", "onclick", "onload", "<style", "javascript:"] {
                assert!(!page.contains(inline), "{inline}");
            }
        }
    }

    #[test]
    fn only_what_is_listed_has_a_route() {
        assert_eq!(Route::of("/readyz"), Some(Route::Ready));
        for path in ["", "/index.html", "//", "/../", "/metrics/", "/page.css/../", "/healthz%20"] {
            assert_eq!(Route::of(path), None, "{path}");
        }
    }
}
