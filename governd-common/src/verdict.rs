//! Verdicts, the reasons for them, and what the kernel counts when it cannot do its work.

/// What happens to a connection or packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
#[repr(u8)]
pub enum Verdict {
    /// The program refuses it.
    Deny = 0,
    /// The program lets it pass.
    Allow = 1,
}

impl Verdict {
    /// Reads a verdict from shared bytes; anything but an exact `Allow` denies.
    pub const fn from_byte(byte: u8) -> Self {
        if byte == Self::Allow as u8 { Self::Allow } else { Self::Deny }
    }
}

/// Whether a subject's denials are carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Nothing is stopped; what would have been is recorded.
    Monitor = 0,
    /// Denials are carried out.
    Enforce = 1,
}

impl Mode {
    /// Reads a mode from shared bytes; anything but an exact `Monitor` enforces.
    pub const fn from_byte(byte: u8) -> Self {
        if byte == Self::Monitor as u8 { Self::Monitor } else { Self::Enforce }
    }
}

/// An enumeration of codes in shared bytes, with the words for them.
macro_rules! codes {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$vmeta:meta])* $variant:ident = $code:literal => $word:literal,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant = $code,)* }

        impl $name {
            /// Every value, in the order of the codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Reads a code from shared bytes.
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte { $($code => Some(Self::$variant),)* _ => None }
            }

            /// The word that records, metrics and the command line use.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

pub(crate) use codes;

codes! {
    /// Why a decision came out as it did.
    Reason {
        /// A rule of the policy matched the destination by name or address.
        Rule = 1 => "rule",
        /// No rule matched; the subject's default applied.
        NoRule = 2 => "no-rule",
        /// The destination is a trusted resolver, port 53.
        Resolver = 3 => "resolver",
        /// The destination is this host and the policy leaves loopback alone.
        Loopback = 4 => "loopback",
        /// A raw, ping or packet socket of a governed subject.
        RawSocket = 5 => "raw-socket",
        /// A table could not be read or written; enforced subjects are denied.
        Fault = 6 => "fault",
        /// The process is not a registered agent and the host's posture for those applied.
        Unregistered = 7 => "unregistered",
        /// The server name or Host in the first bytes is not one that the policy allows there.
        ServerName = 8 => "server-name",
        /// The first bytes name no server that a rule could speak of.
        NoServerName = 9 => "no-server-name",
        /// QUIC where no rule allows it, or with another name than the address was bound to.
        Quic = 10 => "quic",
        /// A DNS query for a name that no rule of the subject speaks of.
        DnsName = 11 => "dns-name",
        /// A DNS query or answer of a type that would take names out of sight.
        DnsRecord = 12 => "dns-record",
        /// A socket that another process than a governed one made or lent.
        ForeignSocket = 13 => "foreign-socket",
        /// A multipath TCP socket, whose further paths no hook can judge.
        Mptcp = 14 => "mptcp",
        /// A local socket of a process that could act in the subject's place.
        UnixSocket = 15 => "unix-socket",
        /// A device that packets leave the host by.
        Device = 16 => "device",
        /// The other side opened the connection, and the policy leaves those alone.
        Accepted = 17 => "accepted",
        /// A packet that says to come from a trusted resolver.
        DnsAnswer = 18 => "dns-answer",
        /// A rule lets a person decide, and nobody granted it.
        Approval = 19 => "approval",
        /// A rule lets a person decide, and somebody granted it for a time.
        Granted = 20 => "granted",
        /// A rule denies it and has the subject quarantined.
        Halt = 21 => "halt",
        /// The subject is quarantined.
        Quarantine = 22 => "quarantine",
        /// The subject connects more often than its limit.
        ConnectionsLimit = 27 => "connections-limit",
        /// The subject reaches more new destinations than its limit.
        DestinationsLimit = 28 => "destinations-limit",
        /// The subject sends and receives more bytes than its limit.
        BytesLimit = 29 => "bytes-limit",
        /// An act against the daemon or its programs.
        SelfProtection = 30 => "self-protection",
        /// A setting that names a program which the kernel then starts for nobody.
        Setting = 31 => "setting",
    }
}

codes! {
    /// What a program could not do; each is a counter per CPU.
    Loss {
        /// An event did not fit into the ring.
        Ring = 0 => "ring-full",
        /// A child of a governed process could not be tracked: the task map was full.
        Tasks = 1 => "tasks-full",
        /// A binding could not be stored.
        Bindings = 2 => "bindings-full",
        /// A socket's owner could not be stored.
        Sockets = 3 => "socket-storage",
        /// Kernel memory could not be read.
        Read = 4 => "kernel-read",
        /// A DNS answer from a trusted resolver was malformed or too long.
        Dns = 5 => "dns-malformed",
        /// The policy tables of the slot in force were incomplete.
        Tables = 6 => "tables-incomplete",
        /// A DNS answer that matched no query of its socket, and taught nothing.
        Unasked = 7 => "dns-unasked",
        /// A DNS query that could not be kept, so that its answer teaches nothing.
        Pending = 8 => "pending-full",
        /// A DNS connection whose messages could not be followed any more; its answers teach
        /// nothing.
        DnsStream = 9 => "dns-stream",
    }
}
