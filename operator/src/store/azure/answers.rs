//! The answers of the Blob service that are XML: lists of blobs, the names of blocks, and the key of an identity.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use roxmltree::{Document, Node};
use zeroize::Zeroizing;

use super::sign::DelegationKey;
use crate::store::StoreError;

/// A page of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct BlobPage {
    pub(super) blobs: Vec<ListedBlob>,
    /// The names of folders, whole, with a slash at their ends.
    pub(super) folders: Vec<String>,
    /// Where the list continues.
    pub(super) next: Option<String>,
}

/// A blob in a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListedBlob {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// A blob that has only blocks that no list names has none.
    pub(super) modified: Option<Timestamp>,
}

/// Reads a page. It is an error if the page was cut: each page says where the list continues, or that it ends.
pub(super) fn page(xml: &str) -> Result<BlobPage, StoreError> {
    let cut = || StoreError::silent("the store cut the list of its objects");
    let document = Document::parse(xml).map_err(|_| cut())?;
    let root = document.root_element();
    let next = child(root, "NextMarker").ok_or_else(cut)?.text().filter(|marker| !marker.is_empty());
    let mut page = BlobPage { next: next.map(ToOwned::to_owned), ..BlobPage::default() };
    for listed in child(root, "Blobs").ok_or_else(cut)?.children().filter(Node::is_element) {
        let name = child(listed, "Name").and_then(|name| name.text()).ok_or_else(cut)?.to_owned();
        if listed.has_tag_name("BlobPrefix") {
            page.folders.push(name);
            continue;
        }
        let of = |property| child(child(listed, "Properties")?, property)?.text();
        let bytes = of("Content-Length").and_then(|length| length.parse().ok()).unwrap_or_default();
        let modified = of("Last-Modified").and_then(|time| jiff::fmt::rfc2822::parse(time).ok());
        page.blobs.push(ListedBlob { name, bytes, modified: modified.map(|time| time.timestamp()) });
    }
    Ok(page)
}

/// Reads the key by which an identity signs URLs.
pub(super) fn delegation_key(xml: &str) -> Result<DelegationKey, StoreError> {
    let cut = || StoreError::silent("the store cut the user delegation key");
    let document = Document::parse(xml).map_err(|_| cut())?;
    let root = document.root_element();
    let of = |name| child(root, name).and_then(|node| node.text()).map(ToOwned::to_owned).ok_or_else(cut);
    let key = STANDARD.decode(of("Value")?).map_err(|_| cut())?;
    Ok(DelegationKey {
        object_id: of("SignedOid")?,
        tenant_id: of("SignedTid")?,
        starts: of("SignedStart")?,
        ends: of("SignedExpiry")?,
        service: of("SignedService")?,
        version: of("SignedVersion")?,
        key: Zeroizing::new(key),
    })
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.has_tag_name(name))
}

/// The names of the blocks in the beginning of a block list, decoded. The list may be cut: a large upload has so many
/// blocks that the whole would be large.
pub(super) fn block_names(xml: &str) -> impl Iterator<Item = String> {
    let names = xml.split("<Name>").skip(1).filter_map(|rest| rest.split_once("</Name>"));
    names.filter_map(|(name, _)| String::from_utf8(STANDARD.decode(name).ok()?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_and_a_cut_one_is_an_error() {
        let xml = "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"x\" ContainerName=\"c\">\
            <Prefix>p/</Prefix><Blobs><Blob><Name>p/a&amp;b</Name><Properties>\
            <Last-Modified>Thu, 26 Nov 2026 03:06:49 GMT</Last-Modified><Content-Length>7</Content-Length></Properties>\
            </Blob><Blob><Name>p/open</Name><Properties><Content-Length>0</Content-Length></Properties></Blob>\
            <BlobPrefix><Name>p/backups/</Name></BlobPrefix></Blobs><NextMarker>m</NextMarker></EnumerationResults>";
        let got = page(xml).expect("whole");
        let modified = "2026-11-26T03:06:49Z".parse().ok();
        assert_eq!(
            got,
            BlobPage {
                blobs: vec![
                    ListedBlob { name: "p/a&b".to_owned(), bytes: 7, modified },
                    ListedBlob { name: "p/open".to_owned(), bytes: 0, modified: None },
                ],
                folders: vec!["p/backups/".to_owned()],
                next: Some("m".to_owned()),
            }
        );
        assert_eq!(page(&xml.replace("<NextMarker>m</NextMarker>", "<NextMarker />")).expect("whole").next, None);
        for cut in [&xml[..xml.len() - 30], &xml.replace("<NextMarker>m</NextMarker>", ""), "", "<a/>"] {
            assert!(page(cut).expect_err(cut).is_transient());
        }
    }

    #[test]
    fn blocks_are_named_as_far_as_the_list_goes() {
        let list = "<BlockList><UncommittedBlocks><Block><Name>YQ==</Name><Size>1</Size></Block><Block><Name>Y";
        assert_eq!(block_names(list).collect::<Vec<_>>(), ["a"]);
    }
}
