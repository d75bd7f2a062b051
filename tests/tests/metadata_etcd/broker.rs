//! A broker whose metadata is in etcd.
