//! Azure's clouds: where each has its accounts, its login and its management API.
//! <https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud>

use crate::location::{Endpoint, shown};

/// A cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AzureCloud {
    Public,
    China,
    UsGovernment,
}

impl AzureCloud {
    /// By the name in a credentials file, in any case; empty means the public one.
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        match name.to_ascii_uppercase().as_str() {
            "" | "AZURECLOUD" | "AZUREPUBLICCLOUD" => Ok(Self::Public),
            "AZURECHINACLOUD" => Ok(Self::China),
            "AZUREUSGOVERNMENT" | "AZUREUSGOVERNMENTCLOUD" => Ok(Self::UsGovernment),
            _ => Err(format!(
                "AZURE_CLOUD_NAME is {}; allowed: AzurePublicCloud, AzureChinaCloud, AzureUSGovernmentCloud; for another \
                 cloud set config key storageAccountURI",
                shown(name)
            )),
        }
    }

    /// The domain of accounts' blob endpoints.
    pub(super) const fn blob_zone(self) -> &'static str {
        match self {
            Self::Public => "blob.core.windows.net",
            Self::China => "blob.core.chinacloudapi.cn",
            Self::UsGovernment => "blob.core.usgovcloudapi.net",
        }
    }

    /// The host of Microsoft Entra.
    pub(super) const fn login_host(self) -> &'static str {
        match self {
            Self::Public => "login.microsoftonline.com",
            Self::China => "login.chinacloudapi.cn",
            Self::UsGovernment => "login.microsoftonline.us",
        }
    }

    /// The host of the Azure Resource Manager.
    pub(super) const fn management_host(self) -> &'static str {
        match self {
            Self::Public => "management.azure.com",
            Self::China => "management.chinacloudapi.cn",
            Self::UsGovernment => "management.usgovcloudapi.net",
        }
    }
}

/// The login hosts of all clouds, old names included.
const LOGIN_HOSTS: [&str; 5] = [
    "login.microsoftonline.com",
    "login.windows.net",
    "login.chinacloudapi.cn",
    "login.partner.microsoftonline.cn",
    "login.microsoftonline.us",
];

/// Refuses a login host that is none of Microsoft's: it would receive the client secret.
pub(super) fn judge_login(key: &str, host: &Endpoint) -> Result<(), String> {
    if !host.is_plain_http() && LOGIN_HOSTS.contains(&host.host()) {
        return Ok(());
    }
    Err(format!(
        "config key {key} is {}, which would receive the client secret; allowed: https:// with one of {}; another one \
         only with the operator's flag --allow-any-login-host",
        shown(host.as_str()),
        LOGIN_HOSTS.join(", ")
    ))
}
