//! Volumes of every type.

use super::claim::PERSISTENT_VOLUME_CLAIM_SPEC;
use super::container::{OBJECT_FIELD_SELECTOR, RESOURCE_FIELD_SELECTOR};
use super::metadata::{LABEL_SELECTOR, OBJECT_META};
use super::pod::LOCAL_OBJECT_REFERENCE;
use crate::kube::defaults::shape::{
    Field,
    Kind::{Bool, Int32, Int64, List, Map, Object, Quantity, Text},
    always, gated, non_zero, nullable, pointer,
};

/// `core/v1.Volume`
pub(super) const VOLUME: &[Field] = &[
    always("name", Text),
    pointer("hostPath", Object(HOST_PATH_VOLUME_SOURCE)),
    pointer("emptyDir", Object(EMPTY_DIR_VOLUME_SOURCE)),
    pointer("gcePersistentDisk", Object(GCE_PERSISTENT_DISK_VOLUME_SOURCE)),
    pointer("awsElasticBlockStore", Object(AWS_ELASTIC_BLOCK_STORE_VOLUME_SOURCE)),
    pointer("gitRepo", Object(GIT_REPO_VOLUME_SOURCE)),
    pointer("secret", Object(SECRET_VOLUME_SOURCE)),
    pointer("nfs", Object(NFS_VOLUME_SOURCE)),
    pointer("iscsi", Object(ISCSI_VOLUME_SOURCE)),
    pointer("glusterfs", Object(GLUSTERFS_VOLUME_SOURCE)),
    pointer("persistentVolumeClaim", Object(PERSISTENT_VOLUME_CLAIM_VOLUME_SOURCE)),
    pointer("rbd", Object(RBD_VOLUME_SOURCE)),
    pointer("flexVolume", Object(FLEX_VOLUME_SOURCE)),
    pointer("cinder", Object(CINDER_VOLUME_SOURCE)),
    pointer("cephfs", Object(CEPH_FS_VOLUME_SOURCE)),
    pointer("flocker", Object(FLOCKER_VOLUME_SOURCE)),
    pointer("downwardAPI", Object(DOWNWARD_API_VOLUME_SOURCE)),
    pointer("fc", Object(FC_VOLUME_SOURCE)),
    pointer("azureFile", Object(AZURE_FILE_VOLUME_SOURCE)),
    pointer("configMap", Object(CONFIG_MAP_VOLUME_SOURCE)),
    pointer("vsphereVolume", Object(VSPHERE_VIRTUAL_DISK_VOLUME_SOURCE)),
    pointer("quobyte", Object(QUOBYTE_VOLUME_SOURCE)),
    pointer("azureDisk", Object(AZURE_DISK_VOLUME_SOURCE)),
    pointer("photonPersistentDisk", Object(PHOTON_PERSISTENT_DISK_VOLUME_SOURCE)),
    pointer("projected", Object(PROJECTED_VOLUME_SOURCE)),
    pointer("portworxVolume", Object(PORTWORX_VOLUME_SOURCE)),
    pointer("scaleIO", Object(SCALE_IO_VOLUME_SOURCE)),
    pointer("storageos", Object(STORAGE_OS_VOLUME_SOURCE)),
    pointer("csi", Object(CSI_VOLUME_SOURCE)),
    pointer("ephemeral", Object(EPHEMERAL_VOLUME_SOURCE)),
    pointer("image", Object(IMAGE_VOLUME_SOURCE)),
];

/// `core/v1.HostPathVolumeSource`
const HOST_PATH_VOLUME_SOURCE: &[Field] = &[always("path", Text), pointer("type", Text)];

/// `core/v1.EmptyDirVolumeSource`
const EMPTY_DIR_VOLUME_SOURCE: &[Field] = &[non_zero("medium", Text), pointer("sizeLimit", Quantity), gated("mode")];

/// `core/v1.GCEPersistentDiskVolumeSource`
const GCE_PERSISTENT_DISK_VOLUME_SOURCE: &[Field] =
    &[always("pdName", Text), non_zero("fsType", Text), non_zero("partition", Int32), non_zero("readOnly", Bool)];

/// `core/v1.AWSElasticBlockStoreVolumeSource`
const AWS_ELASTIC_BLOCK_STORE_VOLUME_SOURCE: &[Field] =
    &[always("volumeID", Text), non_zero("fsType", Text), non_zero("partition", Int32), non_zero("readOnly", Bool)];

/// `core/v1.GitRepoVolumeSource`
const GIT_REPO_VOLUME_SOURCE: &[Field] =
    &[always("repository", Text), non_zero("revision", Text), non_zero("directory", Text)];

/// `core/v1.SecretVolumeSource`
const SECRET_VOLUME_SOURCE: &[Field] = &[
    non_zero("secretName", Text),
    non_zero("items", List(&Object(KEY_TO_PATH))),
    pointer("defaultMode", Int32),
    pointer("optional", Bool),
    gated("defaultUser"),
];

/// `core/v1.KeyToPath`
const KEY_TO_PATH: &[Field] = &[always("key", Text), always("path", Text), pointer("mode", Int32), gated("user")];

/// `core/v1.NFSVolumeSource`
const NFS_VOLUME_SOURCE: &[Field] = &[always("server", Text), always("path", Text), non_zero("readOnly", Bool)];

/// `core/v1.ISCSIVolumeSource`
const ISCSI_VOLUME_SOURCE: &[Field] = &[
    always("targetPortal", Text),
    always("iqn", Text),
    always("lun", Int32),
    non_zero("iscsiInterface", Text),
    non_zero("fsType", Text),
    non_zero("readOnly", Bool),
    non_zero("portals", List(&Text)),
    non_zero("chapAuthDiscovery", Bool),
    non_zero("chapAuthSession", Bool),
    pointer("secretRef", Object(LOCAL_OBJECT_REFERENCE)),
    pointer("initiatorName", Text),
];

/// `core/v1.GlusterfsVolumeSource`
const GLUSTERFS_VOLUME_SOURCE: &[Field] =
    &[always("endpoints", Text), always("path", Text), non_zero("readOnly", Bool)];

/// `core/v1.PersistentVolumeClaimVolumeSource`
const PERSISTENT_VOLUME_CLAIM_VOLUME_SOURCE: &[Field] = &[always("claimName", Text), non_zero("readOnly", Bool)];

/// `core/v1.RBDVolumeSource`
const RBD_VOLUME_SOURCE: &[Field] = &[
    always("monitors", List(&Text)),
    always("image", Text),
    non_zero("fsType", Text),
    non_zero("pool", Text),
    non_zero("user", Text),
    non_zero("keyring", Text),
    pointer("secretRef", Object(LOCAL_OBJECT_REFERENCE)),
    non_zero("readOnly", Bool),
];

/// `core/v1.FlexVolumeSource`
const FLEX_VOLUME_SOURCE: &[Field] = &[
    always("driver", Text),
    non_zero("fsType", Text),
    pointer("secretRef", Object(LOCAL_OBJECT_REFERENCE)),
    non_zero("readOnly", Bool),
    non_zero("options", Map(&Text)),
];

/// `core/v1.CinderVolumeSource`
const CINDER_VOLUME_SOURCE: &[Field] = &[
    always("volumeID", Text),
    non_zero("fsType", Text),
    non_zero("readOnly", Bool),
    pointer("secretRef", Object(LOCAL_OBJECT_REFERENCE)),
];

/// `core/v1.CephFSVolumeSource`
const CEPH_FS_VOLUME_SOURCE: &[Field] = &[
    always("monitors", List(&Text)),
    non_zero("path", Text),
    non_zero("user", Text),
    non_zero("secretFile", Text),
    pointer("secretRef", Object(LOCAL_OBJECT_REFERENCE)),
    non_zero("readOnly", Bool),
];

/// `core/v1.FlockerVolumeSource`
const FLOCKER_VOLUME_SOURCE: &[Field] = &[non_zero("datasetName", Text), non_zero("datasetUUID", Text)];

/// `core/v1.DownwardAPIVolumeSource`
const DOWNWARD_API_VOLUME_SOURCE: &[Field] =
    &[non_zero("items", List(&Object(DOWNWARD_API_VOLUME_FILE))), pointer("defaultMode", Int32), gated("defaultUser")];

/// `core/v1.DownwardAPIVolumeFile`
const DOWNWARD_API_VOLUME_FILE: &[Field] = &[
    always("path", Text),
    pointer("fieldRef", Object(OBJECT_FIELD_SELECTOR)),
    pointer("resourceFieldRef", Object(RESOURCE_FIELD_SELECTOR)),
    pointer("mode", Int32),
    gated("user"),
];

/// `core/v1.FCVolumeSource`
const FC_VOLUME_SOURCE: &[Field] = &[
    non_zero("targetWWNs", List(&Text)),
    pointer("lun", Int32),
    non_zero("fsType", Text),
    non_zero("readOnly", Bool),
    non_zero("wwids", List(&Text)),
];

/// `core/v1.AzureFileVolumeSource`
const AZURE_FILE_VOLUME_SOURCE: &[Field] =
    &[always("secretName", Text), always("shareName", Text), non_zero("readOnly", Bool)];

/// `core/v1.ConfigMapVolumeSource`
const CONFIG_MAP_VOLUME_SOURCE: &[Field] = &[
    non_zero("name", Text),
    non_zero("items", List(&Object(KEY_TO_PATH))),
    pointer("defaultMode", Int32),
    pointer("optional", Bool),
    gated("defaultUser"),
];

/// `core/v1.VsphereVirtualDiskVolumeSource`
const VSPHERE_VIRTUAL_DISK_VOLUME_SOURCE: &[Field] = &[
    always("volumePath", Text),
    non_zero("fsType", Text),
    non_zero("storagePolicyName", Text),
    non_zero("storagePolicyID", Text),
];

/// `core/v1.QuobyteVolumeSource`
const QUOBYTE_VOLUME_SOURCE: &[Field] = &[
    always("registry", Text),
    always("volume", Text),
    non_zero("readOnly", Bool),
    non_zero("user", Text),
    non_zero("group", Text),
    non_zero("tenant", Text),
];

/// `core/v1.AzureDiskVolumeSource`
const AZURE_DISK_VOLUME_SOURCE: &[Field] = &[
    always("diskName", Text),
    always("diskURI", Text),
    pointer("cachingMode", Text),
    pointer("fsType", Text),
    pointer("readOnly", Bool),
    pointer("kind", Text),
];

/// `core/v1.PhotonPersistentDiskVolumeSource`
const PHOTON_PERSISTENT_DISK_VOLUME_SOURCE: &[Field] = &[always("pdID", Text), non_zero("fsType", Text)];

/// `core/v1.ProjectedVolumeSource`
const PROJECTED_VOLUME_SOURCE: &[Field] =
    &[always("sources", List(&Object(VOLUME_PROJECTION))), pointer("defaultMode", Int32), gated("defaultUser")];

/// `core/v1.VolumeProjection`
const VOLUME_PROJECTION: &[Field] = &[
    pointer("secret", Object(SECRET_PROJECTION)),
    pointer("downwardAPI", Object(DOWNWARD_API_PROJECTION)),
    pointer("configMap", Object(CONFIG_MAP_PROJECTION)),
    pointer("serviceAccountToken", Object(SERVICE_ACCOUNT_TOKEN_PROJECTION)),
    pointer("clusterTrustBundle", Object(CLUSTER_TRUST_BUNDLE_PROJECTION)),
    pointer("podCertificate", Object(POD_CERTIFICATE_PROJECTION)),
];

/// `core/v1.SecretProjection`
const SECRET_PROJECTION: &[Field] =
    &[non_zero("name", Text), non_zero("items", List(&Object(KEY_TO_PATH))), pointer("optional", Bool)];

/// `core/v1.DownwardAPIProjection`
const DOWNWARD_API_PROJECTION: &[Field] = &[non_zero("items", List(&Object(DOWNWARD_API_VOLUME_FILE)))];

/// `core/v1.ConfigMapProjection`
const CONFIG_MAP_PROJECTION: &[Field] =
    &[non_zero("name", Text), non_zero("items", List(&Object(KEY_TO_PATH))), pointer("optional", Bool)];

/// `core/v1.ServiceAccountTokenProjection`
const SERVICE_ACCOUNT_TOKEN_PROJECTION: &[Field] =
    &[non_zero("audience", Text), pointer("expirationSeconds", Int64), always("path", Text), gated("user")];

/// `core/v1.ClusterTrustBundleProjection`
const CLUSTER_TRUST_BUNDLE_PROJECTION: &[Field] = &[
    pointer("name", Text),
    pointer("signerName", Text),
    pointer("labelSelector", Object(LABEL_SELECTOR)),
    pointer("optional", Bool),
    always("path", Text),
    gated("user"),
];

/// `core/v1.PodCertificateProjection`
const POD_CERTIFICATE_PROJECTION: &[Field] = &[
    non_zero("signerName", Text),
    non_zero("keyType", Text),
    pointer("maxExpirationSeconds", Int32),
    non_zero("credentialBundlePath", Text),
    non_zero("keyPath", Text),
    non_zero("certificateChainPath", Text),
    non_zero("userAnnotations", Map(&Text)),
    gated("user"),
];

/// `core/v1.PortworxVolumeSource`
const PORTWORX_VOLUME_SOURCE: &[Field] =
    &[always("volumeID", Text), non_zero("fsType", Text), non_zero("readOnly", Bool)];

/// `core/v1.ScaleIOVolumeSource`
const SCALE_IO_VOLUME_SOURCE: &[Field] = &[
    always("gateway", Text),
    always("system", Text),
    nullable("secretRef", Object(LOCAL_OBJECT_REFERENCE)),
    non_zero("sslEnabled", Bool),
    non_zero("protectionDomain", Text),
    non_zero("storagePool", Text),
    non_zero("storageMode", Text),
    non_zero("volumeName", Text),
    non_zero("fsType", Text),
    non_zero("readOnly", Bool),
];

/// `core/v1.StorageOSVolumeSource`
const STORAGE_OS_VOLUME_SOURCE: &[Field] = &[
    non_zero("volumeName", Text),
    non_zero("volumeNamespace", Text),
    non_zero("fsType", Text),
    non_zero("readOnly", Bool),
    pointer("secretRef", Object(LOCAL_OBJECT_REFERENCE)),
];

/// `core/v1.CSIVolumeSource`
const CSI_VOLUME_SOURCE: &[Field] = &[
    always("driver", Text),
    pointer("readOnly", Bool),
    pointer("fsType", Text),
    non_zero("volumeAttributes", Map(&Text)),
    pointer("nodePublishSecretRef", Object(LOCAL_OBJECT_REFERENCE)),
];

/// `core/v1.EphemeralVolumeSource`
const EPHEMERAL_VOLUME_SOURCE: &[Field] = &[pointer("volumeClaimTemplate", Object(PERSISTENT_VOLUME_CLAIM_TEMPLATE))];

/// `core/v1.PersistentVolumeClaimTemplate`
const PERSISTENT_VOLUME_CLAIM_TEMPLATE: &[Field] =
    &[always("metadata", Object(OBJECT_META)), always("spec", Object(PERSISTENT_VOLUME_CLAIM_SPEC))];

/// `core/v1.ImageVolumeSource`
const IMAGE_VOLUME_SOURCE: &[Field] = &[non_zero("reference", Text), non_zero("pullPolicy", Text)];
