//! Why a connection over TLS failed, and what to do about it, in words.

use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

use super::{Pem, Tls};

/// What to say when the server asked for a certificate in vain.
pub(super) const NO_CERTIFICATE: &str = "the server asks for a client certificate, and there is none; give one that its \
     CA has signed, with cert=FILE and key=FILE";

/// What to add when the server closed the connection after it got a client certificate.
pub(super) const MAYBE_REFUSED: &str = "; it may not accept the client certificate: is it signed by the CA that the \
     server trusts, and has it not expired?";

/// What to add when it may not speak TLS at all.
pub(super) const NO_TLS: &str = "; does it speak TLS on this port? If not, write redis://";

/// `expected`: the name that the certificate must have. `asked`: the server asked for a certificate that there is not.
pub(super) fn of(error: &Error, tls: &Tls, expected: &str, asked: bool) -> String {
    match error {
        Error::InvalidCertificate(why) => of_certificate(why, tls, expected),
        Error::NoCertificatesPresented => "the server shows no certificate".to_owned(),
        Error::InvalidMessage(_) => {
            format!("the server does not answer in TLS{NO_TLS}")
        }
        Error::PeerIncompatible(why) => format!(
            "client and server have no version or cipher of TLS in common ({why:?}): TLS 1.2 or 1.3 is needed; see \
             tls-protocols and tls-ciphers of the server"
        ),
        Error::AlertReceived(alert) => of_alert(*alert, tls, asked),
        error => format!("TLS: {error}"),
    }
}

fn of_certificate(why: &CertificateError, tls: &Tls, expected: &str) -> String {
    match why {
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the server's certificate expired {} ago; renew it on the server",
            between(*not_after, *time)
        ),
        CertificateError::Expired => {
            "the server's certificate has expired; renew it on the server".to_owned()
        }
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the server's certificate is not valid yet: it will be in {}; are the clocks of both machines right?",
            between(*time, *not_before)
        ),
        CertificateError::NotValidYet => {
            "the server's certificate is not valid yet; are the clocks of both machines right?"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
            let names: Vec<String> = presented.iter().map(|name| plain(name)).collect();
            format!(
                "the server's certificate is for {}, and not for {expected}; connect by a name that it is for, or say \
                 which one it must have, with server_name=",
                names.join(", ")
            )
        }
        CertificateError::NotValidForNameContext { .. } | CertificateError::NotValidForName => {
            format!(
                "the server's certificate is not for {expected}; say which name it must have, with server_name=, or \
                 make one with that name"
            )
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => match &tls.ca {
            None => "the server's certificate is signed by nobody whom this system trusts; give its CA with ca=FILE"
                .to_owned(),
            Some(Pem::File(path)) => format!(
                "the server's certificate is not signed by the CA in {}; give the CA that has signed it, with ca=FILE",
                path.display()
            ),
            Some(Pem::Bytes(_)) => {
                "the server's certificate is not signed by the CA that was given; give the one that has signed it"
                    .to_owned()
            }
        },
        CertificateError::Revoked => "the server's certificate has been revoked".to_owned(),
        CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => {
            "the server's certificate is not for servers; make one with the extended key usage serverAuth".to_owned()
        }
        CertificateError::BadEncoding => {
            "the server's certificate cannot be read; is it an X.509 certificate of version 3?".to_owned()
        }
        CertificateError::Other(error) => {
            format!("the server's certificate cannot be used: {}", error.0)
        }
        why => format!("the server's certificate cannot be used: {why}"),
    }
}

fn of_alert(alert: AlertDescription, tls: &Tls, asked: bool) -> String {
    use AlertDescription as Alert;
    let refused = |why: &str| format!("the server refuses the client certificate: {why}");
    match alert {
        Alert::CertificateRequired => NO_CERTIFICATE.to_owned(),
        Alert::HandshakeFailure | Alert::BadCertificate | Alert::UnknownCA if asked => {
            NO_CERTIFICATE.to_owned()
        }
        _ if tls.cert.is_none() => of_other_alert(alert),
        Alert::UnknownCA => refused(
            "it is not signed by a CA that the server trusts (tls-ca-cert-file); give cert and key of that CA",
        ),
        Alert::CertificateExpired => refused("it has expired; renew it"),
        Alert::CertificateRevoked => refused("it has been revoked"),
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateUnknown
        | Alert::DecryptError
        | Alert::AccessDenied => refused(&format!("{alert:?}; see the server's log")),
        alert => of_other_alert(alert),
    }
}

fn of_other_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::ProtocolVersion => {
            "the server has no version of TLS that is safe; allow TLS 1.2 or 1.3 there (tls-protocols)".to_owned()
        }
        AlertDescription::UnrecognisedName => {
            "the server does not know the name that it was asked for; set server_name=".to_owned()
        }
        alert => format!("the server ended the TLS handshake with {alert:?}; see its log"),
    }
}

/// `DnsName("redis.internal")` as `redis.internal`.
fn plain(name: &str) -> String {
    let inside = name.split_once('(').map_or(name, |(_, inside)| inside);
    inside
        .trim_end_matches(')')
        .trim_matches('"')
        .chars()
        .filter(|c| !c.is_control())
        .take(100)
        .collect()
}

/// About how long.
fn between(from: UnixTime, to: UnixTime) -> String {
    let time = Duration::from_secs(to.as_secs().saturating_sub(from.as_secs()));
    let seconds = time.as_secs();
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{s}")
}
