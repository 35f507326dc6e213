//! Lets the AWS SDK, which makes and signs the requests, use the transport of all stores.

use aws_sdk_s3::config::{HttpClient, RuntimeComponents};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::HttpRequest,
    result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt, Limited};

use crate::store::{
    transport::{HttpTransport, MOST_ANSWER},
    wire::WireError,
};

/// The transport as the SDK wants it.
#[derive(Clone, Debug)]
pub(super) struct SdkHttp(pub(super) HttpTransport);

impl HttpClient for SdkHttp {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for SdkHttp {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let transport = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let of_object = gets_object(&request);
            let response = transport.send(request.map(BodyExt::boxed_unsync)).await.map_err(connector_error)?;
            // Only an object may be long: the SDK reads all other answers whole, into memory.
            let streamed = of_object && response.status().is_success();
            response
                .map(|body| {
                    if streamed {
                        SdkBody::from_body_1_x(body)
                    } else {
                        SdkBody::from_body_1_x(Limited::new(body, MOST_ANSWER))
                    }
                })
                .try_into()
                .map_err(|error: aws_smithy_runtime_api::http::HttpError| ConnectorError::other(error.into(), None))
        })
    }
}

/// Whether the request is `GetObject`: the SDK writes that into the query.
fn gets_object<B>(request: &http::Request<B>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    request.method() == http::Method::GET && query.split('&').any(|parameter| parameter == "x-id=GetObject")
}

/// The SDK retries all errors except failed TLS and forbidden addresses.
fn connector_error(error: WireError) -> ConnectorError {
    match error {
        WireError::NotAllowed(_) => ConnectorError::user(error.into()),
        WireError::TimedOut(_) | WireError::Stalled => ConnectorError::timeout(error.into()),
        WireError::Tls { .. } => ConnectorError::other(error.into(), None),
        _ => ConnectorError::io(error.into()),
    }
}
