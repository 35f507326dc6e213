//! The look at `report.html` in a real browser (`support::pages`) finds what is wrong with a page.

use harness::chromium::Chromium;

use crate::support::pages::faults;

#[tokio::test]
async fn the_look_at_a_page_finds_what_is_wrong_with_it() {
    let place = tempfile::tempdir().expect("a folder");
    let mut chromium = Chromium::start(&place.path().join("profile")).await;
    let style = "body{font:15px sans-serif;color:#111;background:#fff}.bar{width:200px;height:20px;display:block}";
    let lane = |inside: &str| {
        format!("<ol><li class=lane>Pod db-0 ✗<svg class=bar viewBox='0 0 9 9'>{inside}</svg></li></ol>")
    };
    for (body, expected) in [
        ("<p>All is well.</p>".to_owned(), None),
        (lane("<title>runs</title><rect width=9 height=9 fill=rgb(0,0,0) />"), None),
        ("<p style='width:9000px'>long</p>".to_owned(), Some("wider than the window")),
        ("<p style='width:4em;white-space:nowrap'>a line too long for it</p>".to_owned(), Some("text leaves its box")),
        ("<p style='width:5em;word-break:break-all'>an error of the phase is here</p>".to_owned(), Some("a torn word")),
        ("<p>one</p><p style='margin-top:-30px'>two</p>".to_owned(), Some("text over text")),
        ("<p style='color:#999'>faint</p>".to_owned(), Some("faint text")),
        (lane("<title>runs</title><rect width=9 height=9 fill=rgb(240,240,240) />"), Some("a faint bar")),
        (lane("<title>runs</title>"), Some("an empty lane")),
        (lane("<rect width=9 height=9 fill=rgb(0,0,0) />"), Some("a lane without words")),
    ] {
        let page = place.path().join("page.html");
        std::fs::write(&page, format!("<!doctype html><meta charset=utf-8><style>{style}</style><body>{body}"))
            .expect("a page");
        let found = faults(&mut chromium, &page).await;
        match expected {
            None => assert!(found.is_empty(), "{body}: {found:?}"),
            Some(fault) => assert!(found.iter().any(|one| one.contains(fault)), "{body}: {found:?}"),
        }
    }
}
