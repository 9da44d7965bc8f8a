//! The table: every call, with what it asks of its caller.
//!
//! A row is the method, the path below `/admin/api`, the act, and the request with its reply; `202` behind it where the
//! answer says that something is asked for and not done yet, `where null_clears` where a member that is `null` is taken
//! away.

use crate::{
    Act, ActClass, Method, OwnerCall, activity, agents, audit, backup, boards, calls, changes,
    channels, console, explain, exposure, extensions, grants, kinds, lend, network, pause, pending,
    profile, review, secrets, sign_ins, source_settings, sources, status, undo, unsettled, upgrade,
};
use plexus_protocol::body::Revocation;

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tabled {
    /// Its path, with its parameters ([`OwnerCall::PATH`]).
    pub path: &'static str,
    /// Its method.
    pub method: Method,
    /// What it does.
    pub act: Act,
}

impl Tabled {
    /// The row of a call.
    #[must_use]
    pub fn of<C: OwnerCall>() -> Self {
        Self {
            path: C::PATH,
            method: C::METHOD,
            act: C::Class::ACT,
        }
    }

    /// Its path without the names of query parameters.
    #[must_use]
    pub fn route(&self) -> &'static str {
        self.path
            .split_once('?')
            .map_or(self.path, |(path, _)| path)
    }
}

macro_rules! table {
    ($($method:ident $path:literal $act:ident $request:ty => $reply:ty $(, $status:literal)? $(where $nulls:ident)?;)+) => {
        $(
            impl OwnerCall for $request {
                const METHOD: Method = Method::$method;
                const PATH: &'static str = $path;
                const STATUS: u16 = table!(@status $($status)?);
                const NULL_CLEARS: bool = table!(@nulls $($nulls)?);
                type Class = crate::$act;
                type Reply = $reply;
            }
        )+
        /// All calls.
        pub const TABLE: &[Tabled] = &[
            $(Tabled { path: $path, method: Method::$method, act: <crate::$act as ActClass<$request>>::ACT },)+
        ];
    };
    (@status $status:literal) => { $status };
    (@status) => { 200 };
    (@nulls null_clears) => { true };
    (@nulls) => { false };
}

#[rustfmt::skip]
table! {
    Get    "/activity?limit&agent&since&until&source&touched&only&before" Reads activity::List => activity::Activity;

    Get    "/agents"                                    Reads    agents::List => agents::Agents;
    Post   "/agents/connect"                            Widens   agents::Connect => agents::Connected;
    Get    "/agents/enrollments"                        Reads    agents::ListEnrollments => agents::Enrollments;
    Post   "/agents/revoke"                             Narrows  agents::Revoke => agents::RevokedAgent;
    Post   "/agents/{id}/code"                          Widens   agents::RenewCode => agents::RenewedCode;
    Get    "/agents/{id}/limits"                        Reads    agents::ShowLimits => agents::Limits;
    Post   "/agents/{id}/limits"                        Widens   agents::ChangeLimits => agents::ChangedLimits;
    Get    "/agents/{id}/subset"                        Reads    agents::ShowSubset => agents::Subset;

    Get    "/audit?limit&before&agent&touched"          Reads    audit::List => audit::Events;
    Get    "/audit/archives"                            Reads    audit::ListArchives => audit::Archives;
    Post   "/audit/archives/forget"                     Widens   audit::ForgetArchives => audit::ForgottenArchives;
    Get    "/audit/verify"                              Reads    audit::Verify => audit::Verdict;
    Get    "/audit/{id}"                                Reads    audit::Show => audit::ShownEvent;

    Post   "/backup/copy"                               Narrows  backup::CopyLedger => backup::LedgerCopy;

    Get    "/boards"                                    Reads    boards::List => boards::Boards;
    Get    "/boards/{id}?source"                        Reads    boards::Show => boards::ShownBoard;
    Post   "/boards/{id}/stop?source"                   Narrows  boards::Stop => calls::EndedConversation, 202;

    Get    "/calls"                                     Reads    calls::List => calls::Calls;
    Get    "/calls/{id}?after&wait"                     Reads    calls::Look => calls::CallProgress;
    Post   "/calls/{id}/stop"                           Narrows  calls::Stop => calls::Stopping, 202;

    Get    "/capabilities"                              Reads    exposure::ListEntries => exposure::Entries;

    Get    "/changes?source"                            Reads    changes::List => changes::ChangeSets;
    Get    "/changes/{id}?path&after"                   Reads    changes::Show => changes::ChangeSet;
    Delete "/changes/{id}?source"                       Narrows  changes::DropSet => changes::ApplyOutcome;
    Post   "/changes/{id}/apply"                        WidensAfterLook changes::Apply => changes::ApplyOutcome;
    Post   "/changes/{id}/plan"                         Reads    changes::PlanApply => changes::ApplyPlan;

    Get    "/channels"                                  Reads    channels::List => channels::Channels;
    Get    "/channels/{source}?after"                   Reads    channels::ListUsers => channels::Members;
    Post   "/channels/{source}"                         WidensAfterLook channels::Create => channels::ActResult;
    Get    "/channels/{source}/unsent"                  Reads    channels::ListUnsent => channels::Unsent;
    Delete "/channels/{source}/unsent/{message}"        WidensAfterLook channels::Forget => channels::ActResult;
    Get    "/channels/{source}/{channel}"               Reads    channels::ListMembers => channels::Members;
    Post   "/channels/{source}/{channel}/archive"       WidensAfterLook channels::Archive => channels::ActResult;
    Post   "/channels/{source}/{channel}/leave"         WidensAfterLook channels::Leave => channels::ActResult;
    Post   "/channels/{source}/{channel}/members"       WidensAfterLook channels::Add => channels::ActResult;
    Delete "/channels/{source}/{channel}/members/{user}" WidensAfterLook channels::Remove => channels::ActResult;
    Get    "/channels/{source}/{channel}/messages?after&before&limit" Reads channels::Read => channels::Messages;
    Post   "/channels/{source}/{channel}/messages"      WidensAfterLook channels::Say => channels::ActResult;
    Put    "/channels/{source}/{channel}/name"          WidensAfterLook channels::Rename => channels::ActResult;
    Post   "/channels/{source}/{channel}/rotate"        WidensAfterLook channels::Rotate => channels::ActResult;

    Get    "/connectors"                                Reads    kinds::List => kinds::Kinds;

    Post   "/console/link"                              Widens   console::MakeLink => console::SignInLink;

    Post   "/default-grant/{id}"                        Widens   exposure::Offer => exposure::Offered;

    Post   "/explain"                                   Narrows  explain::Explain => explain::Explanation;

    Get    "/exposure"                                  Reads    exposure::List => exposure::Exposure;
    Post   "/exposure/{id}"                             Either   exposure::Expose => exposure::Exposed;

    Get    "/extensions"                                Reads    extensions::List => extensions::Extensions;
    Post   "/extensions"                                WidensAfterLook extensions::Add => extensions::InstallResult;
    Post   "/extensions/preview"                        Either   extensions::Preview => extensions::ExtensionPreview;
    Get    "/extensions/{id}"                           Reads    extensions::Show => extensions::InstalledExtension;
    Delete "/extensions/{id}"                           Narrows  extensions::Remove => extensions::RemovedExtension;

    Get    "/grants"                                    Reads    grants::List => grants::Grants;
    Put    "/grants"                                    Widens   grants::Give => grants::Given;

    Get    "/health"                                    Reads    sources::Probe => sources::HealthReport;

    Get    "/interfaces"                                Reads    network::Interfaces => network::LocalAddresses;

    Get    "/lend"                                      Reads    lend::List => lend::LentFolders;
    Post   "/lend"                                      WidensAfterLook lend::Lend => lend::Lending;
    Delete "/lend/{id}"                                 Narrows  lend::End => lend::EndedLending;

    Get    "/network"                                   Reads    network::Show => network::NetworkState;
    Post   "/network"                                   Widens   network::Change => network::ChangedNetwork;

    Post   "/pause"                                     Either   pause::Pause => pause::Paused;

    Get    "/pending?begins"                            Reads    pending::List => pending::Listed;
    Get    "/pending/{id}"                              Reads    pending::Show => pending::Item;
    Post   "/pending/{id}"                              Either   pending::Decide => pending::Decided;
    Delete "/pending/{id}/denial"                       Widens   pending::EndDenial => pending::DenialEnded;
    Post   "/pending/{id}/plan"                         Widens   pending::PlanAgain => pending::Planning;

    Get    "/review/{agent}?since&source"               Reads    review::Show => review::Review;

    Post   "/revoke"                                    Narrows  grants::Revoke => Revocation;

    Post   "/secrets/{name}"                            Widens   secrets::Write => secrets::WriteResult;

    Post   "/sign-ins"                                  WidensAfterLook sign_ins::Begin => sign_ins::Begun;
    Get    "/sign-ins/{id}?wait"                        Reads    sign_ins::Look => sign_ins::SignInProgress;
    Post   "/sign-ins/{id}/renew"                       WidensAfterLook sign_ins::Renew => sign_ins::RenewedSignIn;
    Delete "/sources/{source}/sign-in"                  Narrows  sign_ins::SignOut => sign_ins::SignedOut;

    Get    "/source-settings"                           Reads    source_settings::List => source_settings::AllSettings;
    Put    "/source-settings/{id}"                      WidensAfterLook source_settings::Change => source_settings::ChangedSettings;

    Get    "/sources"                                   Reads    sources::List => sources::Sources;
    Post   "/sources"                                   WidensAfterLook sources::Add => sources::AddResult;
    Get    "/sources/detect"                            Reads    kinds::Detect => kinds::Detections;
    Delete "/sources/{id}"                              Narrows  sources::Remove => sources::EndResult;
    Post   "/sources/{id}/disable"                      Narrows  sources::Disable => sources::EndResult;
    Post   "/sources/{id}/enable"                       Widens   sources::Enable => sources::AddResult;
    Post   "/sources/{id}/hide"                         Either   sources::Hide => sources::HideResult;
    Get    "/sources/{id}/profile"                      Reads    profile::Show => profile::Profile;
    Post   "/sources/{id}/reconfigure"                  WidensAfterLook sources::Reconfigure => sources::AddResult where null_clears;
    Post   "/sources/{id}/resume"                       Widens   sources::Resume => sources::Resumption;

    Get    "/status"                                    Reads    status::Show => status::Status;

    Get    "/tokens"                                    Reads    grants::ListTokens => grants::Tokens;

    Get    "/undo/{id}"                                 Reads    undo::Show => undo::UndoPlan;
    Post   "/undo/{id}"                                 WidensAfterLook undo::TakeBack => undo::UndoOutcome;

    Get    "/unsettled"                                 Reads    unsettled::List => unsettled::Unsettled;
    Post   "/unsettled/{id}"                            Widens   unsettled::Settle => unsettled::Settlement;

    Post   "/upgrade"                                   Widens   upgrade::BeginChange => upgrade::PlannedChange;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_route_stands_twice_and_a_get_reads() {
        let routes: BTreeSet<_> = TABLE.iter().map(|row| (row.method, row.route())).collect();
        assert_eq!(routes.len(), TABLE.len());
        for row in TABLE {
            assert!(
                row.method != Method::Get || row.act == Act::Reads,
                "{row:?}: GET changes nothing"
            );
        }
    }
}
