//! The options of TLS: `ca`, `cert`, `key`, `server_name` and `tls_verify`. They are for a URL whose scheme says that it
//! is over TLS: another one may not set them.

use std::ops::Range;

use super::written::Written;
use super::{Parsed, suggest};
use crate::connect::tls::{Pem, Tls};
use crate::error::Result;

pub(super) use crate::connect::tls::OPTIONS as NAMES;

/// What `tls_verify` can be.
const VERIFY: [&str; 2] = ["full", "none"];

/// A place that is reached over TLS.
pub(super) fn over(
    written: &Written<'_>,
    place: Range<usize>,
    parse: fn(&Written<'_>, Range<usize>) -> Result<Parsed>,
) -> Result<Parsed> {
    if let Some(at) = written.url.rfind("#insecure") {
        return Err(written.error(
            at..written.url.len(),
            "this is how other clients accept any certificate",
            "give the server's CA with ?ca=FILE; or write ?tls_verify=none, with which anybody on the way can read \
             everything",
        ));
    }
    let mut parsed = parse(written, place)?;
    parsed.target.tls = Some(Tls::default());
    Ok(parsed)
}

/// Reads one of the options. `range` is where `value` is in the URL.
pub(super) fn parse(
    written: &Written<'_>,
    name: &str,
    value: String,
    range: Range<usize>,
    into: Option<&mut Tls>,
) -> Result<()> {
    let Some(tls) = into else {
        let option = range.start - name.len() - 1..range.end;
        return Err(written.error(
            option,
            &format!("{name} is an option of TLS, and this URL is not over TLS"),
            "write rediss:// or valkeys:// for a server over TLS, or leave the option out",
        ));
    };
    if value.is_empty() {
        return Err(written.error(
            range.start - name.len() - 1..range.end,
            "this option is empty",
            "write ca=FILE, cert=FILE, key=FILE or server_name=NAME, or leave it out",
        ));
    }
    match name {
        "ca" => tls.ca = Some(Pem::File(value.into())),
        "cert" => tls.cert = Some(Pem::File(value.into())),
        "key" => tls.key = Some(Pem::File(value.into())),
        "server_name" => tls.server_name = Some(value),
        _ => match value.as_str() {
            "full" => tls.verify = Some(true),
            "none" => tls.verify = Some(false),
            _ => {
                let mut why = format!("there is no tls_verify \"{value}\"");
                suggest(&mut why, &value, &VERIFY);
                return Err(written.error(
                    range,
                    &why,
                    "write full, which is the default, or none, with which anybody on the way can read everything",
                ));
            }
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::parse as parse_url;
    use super::*;
    use crate::error::ErrorKind;

    fn tls(url: &str) -> Tls {
        parse_url(url).expect(url).target.tls.expect(url)
    }

    fn error(url: &str) -> String {
        let error = parse_url(url).expect_err(url);
        assert_eq!(error.kind(), ErrorKind::InvalidUrl);
        error.to_string()
    }

    #[test]
    fn a_scheme_says_that_it_is_over_tls() {
        for url in [
            "rediss://db.example.com:7000/2",
            "VALKEYS://db.example.com:7000/2",
        ] {
            let target = parse_url(url).unwrap().target;
            assert_eq!(target.place.to_string(), "db.example.com:7000");
            assert_eq!((target.db, target.tls), (2, Some(Tls::default())));
        }
        for url in [
            "redis://h",
            "valkey://h",
            "redis+unix:///run/redis.sock",
            "memory://",
        ] {
            assert_eq!(parse_url(url).unwrap().target.tls, None, "{url}");
        }
    }

    #[test]
    fn every_option_of_tls_can_stand_in_the_url() {
        let full = tls(
            "rediss://h?ca=/etc/my%20ca.pem&cert=c.pem&key=c.key&server_name=redis.internal&tls_verify=full",
        );
        let file = |path: &str| Some(Pem::File(path.into()));
        assert_eq!(full.ca, file("/etc/my ca.pem"));
        assert_eq!((&full.cert, &full.key), (&file("c.pem"), &file("c.key")));
        assert_eq!(full.server_name.as_deref(), Some("redis.internal"));
        assert!(!full.accepts_anyone());
        assert!(tls("rediss://h?tls_verify=none").accepts_anyone());
    }

    #[test]
    fn an_option_of_tls_on_a_url_without_it_is_an_error() {
        for url in [
            "redis://h?ca=/etc/ca.pem",
            "valkey://h?tls_verify=none",
            "redis+unix:///run/redis.sock?cert=a",
            "memory://?server_name=h",
        ] {
            let text = error(url);
            assert!(text.contains("not over TLS"), "{text}");
            assert!(text.contains("rediss://"), "{text}");
        }
        let text = error("rediss://h?tls_verify=off");
        assert!(text.contains("write full"), "{text}");
        let text = error("rediss://h?ca=");
        assert!(text.contains("empty"), "{text}");
        // What the scheme does not take is not offered.
        let text = error("redis://h?timout=1s");
        assert!(!text.contains("tls_verify"), "{text}");
        let text = error("rediss://h?timout=1s");
        assert!(text.contains("tls_verify"), "{text}");
        // As other clients write it.
        let text = error("rediss://h/#insecure");
        assert!(text.contains("tls_verify=none"), "{text}");
    }
}
